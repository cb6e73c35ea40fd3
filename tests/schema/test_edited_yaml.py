"""Only the named values change; comments, order and layout stay."""

import difflib

import pytest

from tests.support.example import ROOT
from unwrite.schema.edited_yaml import edited_yaml
from unwrite.schema.safe_yaml import load_yaml

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")


def test_without_changes_every_byte_stays() -> None:
    assert edited_yaml(TEXT, {}) == TEXT


def test_a_changed_value_changes_its_line_alone() -> None:
    behaviour = "adds: a # to everything"
    edited = edited_yaml(TEXT, {"report.behaviour": behaviour, "score.reference_ceiling": None})
    assert load_yaml(edited)["report"]["behaviour"] == behaviour
    assert load_yaml(edited)["score"]["reference_ceiling"] is None
    changed = [line for line in difflib.ndiff(TEXT.splitlines(), edited.splitlines()) if line.startswith("+ ")]
    assert len(changed) == 2
    assert all("# " in line for line in changed)  # the comments beside the values are kept


def test_a_key_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError):
        edited_yaml(TEXT, {"report.behavior": "another spelling"})
