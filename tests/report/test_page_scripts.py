"""Scripts and data of a page: nothing in them ends their element, and the policy names exactly these scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unwrite.report.page_scripts import chart_library, content_policy, page_script, script_json


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none(), st.lists))
def test_json_is_read_back_and_holds_no_markup(value: object) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")
    assert text.isascii()


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        script_json(float("nan"))


@pytest.mark.parametrize("script", [chart_library, page_script])
def test_a_script_does_not_end_its_own_element(script: object) -> None:
    assert callable(script)
    text = script()
    assert not re.search("</script|<!--", text, re.IGNORECASE)


def test_the_library_has_what_the_page_calls() -> None:
    assert "window.vegaEmbed=" in chart_library()
    assert "vegaEmbed(" in page_script()


def test_the_policy_allows_these_scripts_and_no_fetching() -> None:
    policy = content_policy(["one", "two"])
    for script in ("one", "two"):
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 2
    assert policy.startswith("default-src 'none';")
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert "script-src 'none'" in content_policy([])
