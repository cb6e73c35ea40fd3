"""Work in threads: results in order, and no thread still running after an error or an interrupt."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from unwrite.files import threads
from unwrite.files.threads import in_threads, one_torch_thread, processors


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_are_in_the_order_of_the_items(threads: int) -> None:
    assert in_threads(lambda item, _: item * item, [3, 1, 2], threads) == [9, 1, 4]
    assert in_threads(lambda item, _: item, [], threads) == []


def test_items_are_worked_on_at_once() -> None:
    both = threading.Barrier(2, timeout=30)  # raises an error if one waits for the other to end
    assert sorted(in_threads(lambda _item, _: both.wait(), [0, 1], 2)) == [0, 1]


class WrongError(Exception):
    pass


def test_an_error_stops_the_others_and_starts_no_more() -> None:
    begun: list[int] = []
    threads = threading.active_count()
    together = threading.Barrier(2, timeout=30)

    def work(item: int, end_if_stopped: Callable[[], None]) -> None:
        begun.append(item)
        if item < 2:
            together.wait()
        if item == 1:
            raise WrongError
        while True:
            end_if_stopped()

    with pytest.raises(WrongError):
        in_threads(work, [0, 1, 2, 3], 2)
    assert set(begun) >= {0, 1}
    assert threading.active_count() == threads


def test_the_first_of_several_errors_is_raised() -> None:
    together = threading.Barrier(2, timeout=30)

    def work(item: str, _: Callable[[], None]) -> None:
        together.wait()
        raise WrongError(item)

    with pytest.raises(WrongError, match="one"):
        in_threads(work, ["one", "two"], 2)


def test_an_interrupt_stops_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    running, ended = threading.Event(), threading.Event()

    def work(_: int, end_if_stopped: Callable[[], None]) -> None:
        running.set()
        try:
            while True:
                end_if_stopped()
        finally:
            ended.set()

    def interrupted(*_: object, **__: object) -> None:
        assert running.wait(30)
        raise KeyboardInterrupt

    monkeypatch.setattr(threads, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_threads(work, [0, 1], 1)
    assert ended.is_set()


def test_there_is_at_least_one_processor() -> None:
    assert processors() >= 1


def test_torch_uses_one_thread_meanwhile() -> None:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)
