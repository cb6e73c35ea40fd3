"""What workers say is shown once, and that they compute on different hardware is a warning."""

import logging

import pytest

from unwrite.pipeline.environment import current_environment
from unwrite.workers.notices import Notices


def test_what_several_workers_say_is_shown_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "unwrite")
    notices = Notices()
    notices.show([(logging.INFO, "one"), (logging.WARNING, "two")])
    notices.show([(logging.INFO, "one"), (logging.INFO, "three")])
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "one"),
        ("WARNING", "two"),
        ("INFO", "three"),
    ]


def test_workers_on_other_processors_raise_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    here = current_environment("float32")
    other = here.model_copy(update={"processor": "abacus"})
    notices = Notices()
    for environment in (here, here, other, other):
        notices.compare("node-7 (process 12)", environment)
    assert notices.environment == here
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "on abacus" in record.message
    assert "(node-7 (process 12)), which round differently" in record.message
