"""`unwrite geometry` reads the artifact alone, as a table, JSON or CSV."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from unwrite.cli import main
from unwrite.schema.geometry_records import GEOMETRY_FIGURES


@pytest.fixture
def curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Path("artifacts/plots").mkdir(parents=True)
    figures = dict.fromkeys(GEOMETRY_FIGURES, "0.25") | {"cosine_to_previous": "", "separation_train": "inf"}
    lines = [f"{position},{index},{','.join(figures.values())}" for position in (0, 1) for index in (0, 1)]
    text = "\n".join([",".join(["position", "residual_index", *figures]), *lines]) + "\n"
    Path("artifacts/plots/geometry.csv").write_text(text)
    return text


def shown(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["geometry", *arguments])


def test_the_table_has_a_row_for_each_index(curves: str) -> None:
    done = shown("--position", "1")
    assert done.exit_code == 0
    header, *rows = done.stdout.split("\n\n")[0].splitlines()
    assert header.split()[0] == "index"
    assert [line.split()[0] for line in rows] == ["0", "1"]


def test_csv_is_the_file_again_and_json_has_null_where_a_number_is_missing(curves: str) -> None:
    assert shown("--csv").stdout == curves
    assert len(list(csv.reader(io.StringIO(shown("--csv", "--position", "0").stdout)))) == 3
    first = json.loads(shown("--json").stdout)[0]
    assert (first["cosine_to_previous"], first["separation_train"], first["auc_train"]) == (None, None, 0.25)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--position", "7"), 1, "error: --position must be one of 0, 1, got 7."),
        (("--json", "--csv"), 2, "Choose one of --json and --csv."),
    ],
)
def test_what_cannot_be_shown_is_one_line(curves: str, arguments: tuple[str, ...], code: int, message: str) -> None:
    done = shown(*arguments)
    assert (done.exit_code, message in done.stderr) == (code, True)


def test_without_the_artifact_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = shown()
    assert done.exit_code == 1
    assert done.stderr == "error: artifacts/plots/geometry.csv is missing: run `dvc repro` first.\n"
