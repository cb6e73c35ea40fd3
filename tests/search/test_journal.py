"""The dashboard's copy: Optuna reads every trial from it, and neither leftovers nor a full disk stop the search."""

import errno
import os
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.support.example import evaluate, settings
from unwrite.search import journal as module
from unwrite.search.journal import Journal
from unwrite.search.space import search_space
from unwrite.search.study import run_study
from unwrite.search.trials import TrialOutcome

SECTION = settings()
DISTRIBUTIONS = search_space(SECTION.space, layers=9, positions=2)


def outcomes() -> list[TrialOutcome]:
    return [o for batch in run_study(evaluate, SECTION, done=[], layers=9, positions=2) for o in batch]


def load(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="unwrite", storage=JournalStorage(JournalFileBackend(str(path))))


def test_every_trial_is_there_with_its_state(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    made = outcomes()
    journal = Journal(path, DISTRIBUTIONS, made[:15])
    journal.add(made[15:])
    study = load(path)
    states = {"": "COMPLETE", "logits are NaN": "FAIL", "divergence over max_kl": "PRUNED"}
    assert [trial.state.name for trial in study.trials] == [states[o.reason] for o in made]
    assert {trial.state.name for trial in study.trials} == set(states.values())
    for trial, outcome in zip(study.trials, made, strict=True):
        assert trial.params == outcome.sampled
        if not outcome.reason and outcome.measured is not None:
            assert trial.values == [outcome.measured.behaviour_rate, outcome.measured.kl]
        else:
            assert trial.user_attrs["reason"] == outcome.reason
    assert study.metric_names == ["behaviour rate", "kl"]


def test_leftovers_of_a_killed_search_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    path.write_text('{"half a')
    (tmp_path / "journal.log.lock").symlink_to(path)
    made = outcomes()
    Journal(path, DISTRIBUTIONS, made)
    assert len(load(path).trials) == len(made)


def full_disk(*_: object) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_journal_that_cannot_be_created_is_warned_about_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_create_study", full_disk)
    made = outcomes()
    journal = Journal(tmp_path / "journal.log", DISTRIBUTIONS, made[:5])
    journal.add(made[5:])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "which only a dashboard reads, cannot be written (No space left on device)" in caplog.text


def test_a_journal_that_cannot_be_continued_keeps_its_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = outcomes()
    journal = Journal(tmp_path / "journal.log", DISTRIBUTIONS, made[:5])
    monkeypatch.setattr(optuna.Study, "add_trials", full_disk)
    journal.add(made[5:10])
    monkeypatch.undo()
    journal.add(made[10:])
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert len(load(tmp_path / "journal.log").trials) == 5
