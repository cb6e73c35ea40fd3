"""Findings fit a terminal, and the last line says how many stop the pipeline."""

from unwrite.doctor.diagnosis import Diagnosis, diagnoses_text


def test_every_finding_has_its_weight_and_remedy() -> None:
    text = diagnoses_text([Diagnosis("ok", "All is well."), Diagnosis("stop", "git is missing.", "install it.")])
    assert text == "ok    All is well.\nstop  git is missing. → install it.\n\nWill stop the pipeline: 1."


def test_long_findings_are_wrapped_and_indented() -> None:
    first, *rest = diagnoses_text([Diagnosis("note", "word " * 60, "do this.")]).splitlines()[:-2]
    assert len(first) <= 118
    assert rest
    assert all(line.startswith("      ") and len(line) <= 118 for line in rest)


def test_what_stops_nothing_is_said_too() -> None:
    assert diagnoses_text([Diagnosis("note", "x.")]).endswith("\nNothing here stops the pipeline.")
