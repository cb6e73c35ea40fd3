"""Messages appear on stderr as plain lines while the handler is installed, and only then."""

import logging

import pytest

from unwrite.pipeline.logs import log_to_stderr

LOGGER = logging.getLogger("unwrite.some.module")


@pytest.fixture(autouse=True)
def _silent() -> None:
    """The test suite shows messages everywhere; here, showing them is what is tested."""
    logging.getLogger("unwrite").handlers.clear()


def test_message_is_one_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr():
        LOGGER.info("%d of %d tensors edited; 100 %% done", 3, 10)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "3 of 10 tensors edited; 100 % done\n")


def test_warning_is_marked_as_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr():
        LOGGER.warning("the release will state no licence.")
    assert capsys.readouterr().err == "warning: the release will state no licence.\n"


def test_debug_messages_are_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr():
        LOGGER.debug("12 calls")
        logging.getLogger("another.library").info("a banner")
    assert capsys.readouterr().err == ""


def test_nothing_is_shown_twice_or_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        with log_to_stderr():
            LOGGER.info("once")
    LOGGER.info("after the end")
    assert capsys.readouterr().err == "once\nonce\n"
    assert logging.getLogger("unwrite").handlers == []


def test_a_stage_within_a_command_shows_a_message_once(capsys: pytest.CaptureFixture[str]) -> None:
    with log_to_stderr(), log_to_stderr():
        LOGGER.info("once")
    assert capsys.readouterr().err == "once\n"


def test_the_handler_is_removed_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), log_to_stderr():
        raise ZeroDivisionError
    assert logging.getLogger("unwrite").handlers == []
