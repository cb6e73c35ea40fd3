"""The pool with two real workers: results by number, errors as they were raised, and jobs of the dead done again."""

import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.jobs import TWO, Jobs, descendants, make_late
from unwrite.errors import UnwriteError
from unwrite.workers.pool import Pool, open_pool


@pytest.fixture(scope="module")
def deaths(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deaths")


@pytest.fixture(scope="module")
def pool(deaths: Path) -> Iterator[Pool]:
    """Two workers, that are gone at the end."""
    before = descendants()
    with open_pool(TWO) as opened:
        opened.prepare(partial(Jobs, str(deaths)))
        opened.wait_until_ready()
        yield opened
    assert descendants() <= before


def test_every_job_gives_its_result(pool: Pool) -> None:
    assert pool.workers == 2
    results = dict(pool.run("square", [(number,) for number in range(20)], ahead=1))
    assert results == {number: number * number for number in range(20)}
    assert pool.running == 0


def test_an_expected_error_is_raised_as_it_was_and_a_bug_with_its_traceback(pool: Pool) -> None:
    with pytest.raises(UnwriteError) as expected:
        pool.ask("refuse")
    assert str(expected.value) == "the teapot is empty"
    with pytest.raises(IndexError, match=r"in fail\n(.|\n)*string index out of range"):
        pool.ask("fail")


def test_workers_have_the_threads_and_the_environment_of_the_driver(pool: Pool) -> None:
    assert pool.ask("threads") == TWO.threads == 1
    environment = pool.environment("float32")
    assert (environment.threads, environment.dtype, environment.accelerator) == (1, "float32", None)


def test_a_worker_that_still_made_the_object_before_makes_the_newest_one_too(deaths: Path, pool: Pool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        pool.prepare(partial(make_late, server.getsockname(), str(deaths), "older"), again=True)
        first, second = (server.accept()[0] for _ in range(2))
        with first, second:
            first.sendall(b".")
            assert pool.ask("name_of") == "older"
            pool.prepare(partial(Jobs, str(deaths), "newest"), again=True)
            second.sendall(b".")
            pool.wait_until_ready()
            assert set(dict(pool.run("name_of", [()] * 4)).values()) == {"newest"}


def test_workers_say_the_same_once(deaths: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    pool.prepare(partial(Jobs, str(deaths), "second"), again=True)
    pool.wait_until_ready()
    assert [pool.ask("name_of") for _ in range(3)] == ["second"] * 3
    assert "a worker of tests began" not in capsys.readouterr().err  # said when the first of them began


def test_a_job_whose_worker_died_is_done_again(deaths: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [("whole", 0), ("mended", 1), ("lost", 99), ("last", 0)]  # each with how often it ends its worker
    results = dict(pool.run("die", jobs, ahead=1))
    lost = results.pop(2)
    assert results == {0: "whole", 1: "mended", 3: "last"}
    assert isinstance(lost, UnwriteError)
    assert str(lost).startswith("3 workers died of it, as they do when memory runs out")
    # Three deaths with "lost" alone in a worker, and one more if another job waited behind it: it was not known which.
    tries = len((deaths / "lost").read_text())
    assert tries in (3, 4)
    assert capsys.readouterr().err.count("A worker died (") == tries + 1
    assert pool.ask("name_of") == "second"  # the replacements are prepared as those before them
