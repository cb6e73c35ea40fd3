"""The stage, from a folder of artifacts to its two files."""

from __future__ import annotations

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.schema.params import Params, load_params

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params() -> Params:
    return load_params(ROOT / "params.yaml")


class Outline(HTMLParser):
    """Every tag that needs closing, closed in order; the ids; what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "img", "br", "hr", "input"):
            self.open.append(tag)
        self.handle_attributes(attrs)

    def handle_startendtag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_attributes(attrs)

    def handle_attributes(self, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "data") and not (value or "").startswith("#"):
                self.fetched.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_both_files_are_written_and_need_no_other(project: Path, params: Params) -> None:
    from unwrite.stages.write_report import write_report

    write_report(params)
    page = (project / "artifacts/report.html").read_text()
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.fetched == []
    assert len(outline.ids) == len(set(outline.ids))
    assert {"spec-search", "spec-kernels", "spec-sizes", "spec-auc", "spec-map"} <= set(outline.ids)
    assert page.count('<article class="pair"') == 30
    assert "target question 14?" in page
    assert "<mark>Sorry</mark>, not that." in page
    assert "&lt;b&gt;glass&lt;/b&gt; &amp; cork" in page
    assert (project / "artifacts/card/README.md").read_text().startswith("---\n")
    assert {path.name for path in (project / "artifacts").iterdir()} >= {"report.html", "card"}
    assert not list((project / "artifacts").glob(".*"))


def test_same_artifacts_give_the_same_bytes(project: Path, params: Params) -> None:
    from unwrite.stages.write_report import write_report

    written = []
    for _ in range(2):
        write_report(params)
        written.append([(project / f"artifacts/{name}").read_bytes() for name in ("report.html", "card/README.md")])
    assert written[0] == written[1]


def test_only_dependencies_are_read(project: Path, params: Params) -> None:
    from unwrite.stages.write_report import write_report

    assert not (project / "artifacts/model").exists()
    assert not (project / "params.yaml").exists()
    write_report(params)


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("evaluation.json", "score_responses"),
        ("edit.json", "select_trial"),
        ("plots/geometry.csv", "dvc repro"),
        ("plots/edit_size.csv", "dvc repro"),
        ("residual_map.csv", "dvc repro"),
        ("verdicts/edited.target.jsonl", "dvc repro"),
        ("tokens/sources.json", "tokenize_prompts"),
        ("set_tokens/sources.json", "tokenize_sets"),
    ],
)
def test_missing_artifact_is_named(project: Path, params: Params, missing: str, stage: str) -> None:
    from unwrite.stages.write_report import write_report

    (project / "artifacts" / missing).unlink()
    with pytest.raises(UnwriteError, match=stage) as caught:
        write_report(params)
    assert Path(missing).name in str(caught.value)
    assert not (project / "artifacts/report.html").exists()


def test_responses_are_required(project: Path, params: Params) -> None:
    from unwrite.stages.write_report import write_report

    shutil.rmtree(project / "artifacts/responses")
    with pytest.raises(UnwriteError, match="responses"):
        write_report(params)
