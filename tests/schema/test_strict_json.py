"""JSON is parsed as the standard library does, except for what readers disagree about."""

import json
from typing import Any

import pytest

from unwrite.schema.strict_json import AmbiguousJson, strict_json


@pytest.mark.parametrize("value", [None, 1, -2.5, "tea", [1, {"a": 1}, {"a": 2}], {"a": {"a": 1}}, 10**299])
def test_unambiguous_json_is_parsed_as_ever(value: Any) -> None:
    assert strict_json(json.dumps(value)) == strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 1}', "has the key 'a' twice"),
        ('[{"b": {"c": 1, "d": 2, "c": 3}}]', "has the key 'c' twice"),
        (r'{"a": 1, "\u0061": 2}', "has the key 'a' twice"),
        ("1" * 400, "has a whole number of 400 digits"),
        ('{"a": -' + "1" * 5000 + "}", "has a whole number of 5000 digits"),
    ],
)
def test_ambiguous_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(AmbiguousJson, match=message):
        strict_json(text)


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}"])
def test_text_that_is_not_json_is_a_plain_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|Illegal") as caught:
        strict_json(text)
    assert not isinstance(caught.value, AmbiguousJson)
