"""The dashboard's copy: Optuna reads it, it has every trial, and what a kill left of it does no harm."""

from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from tests.support.example import evaluate, settings
from unwrite.search.journal import open_journal
from unwrite.search.space import search_space
from unwrite.search.study import run_study
from unwrite.search.trials import TrialOutcome

SECTION = settings()
DISTRIBUTIONS = search_space(SECTION.space, layers=9, positions=2)


def outcomes() -> list[TrialOutcome]:
    return [o for batch in run_study(evaluate, SECTION, done=[], layers=9, positions=2) for o in batch]


def load(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="unwrite", storage=JournalStorage(JournalFileBackend(str(path))))


def test_every_trial_is_there_whatever_became_of_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    made = outcomes()
    add = open_journal(path, DISTRIBUTIONS, made[:15])
    add(made[15:])
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


def test_it_is_written_anew_whatever_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.log"
    path.write_text('{"half a')
    (tmp_path / "journal.log.lock").symlink_to(path)
    made = outcomes()
    open_journal(path, DISTRIBUTIONS, made)
    assert len(load(path).trials) == len(made)
