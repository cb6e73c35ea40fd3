"""The page of DVC's plots: a place for each thing that DVC inserts, Vega inside, and nothing to fetch."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from unwrite.report.page_scripts import chart_library
from unwrite.report.plots_page import PLACEHOLDERS, plots_page

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / ".dvc/plots/page.html"


def test_dvc_finds_its_places_once_and_none_for_scripts_of_a_network() -> None:
    page = plots_page()
    assert [page.count(placeholder) for placeholder in PLACEHOLDERS] == [1, 1]
    assert "{scripts}" not in page  # DVC puts the addresses of Vega there


def test_the_library_is_in_it_and_the_policy_fetches_nothing() -> None:
    page = plots_page()
    assert chart_library() in page
    assert "default-src 'none'; script-src 'unsafe-inline';" in unescape(page)
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page.replace(chart_library(), ""))


def test_the_project_has_the_page_of_this_version() -> None:
    page, committed = plots_page(), COMMITTED.read_text(encoding="utf-8")
    named = [re.search(r"vl-convert-python ([\w.]+)\.", text) for text in (page, committed)]
    assert all(named)
    if len({match[1] for match in named if match}) > 1:
        pytest.skip("another version of vl-convert-python brings another Vega")
    assert committed == page, "run `unwrite plots-page`, and copy .dvc/plots to the examples"
