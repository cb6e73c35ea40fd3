"""YAML is read as plain values, and whatever is not YAML is a ValueError of one line."""

import pytest

from unwrite.schema.safe_yaml import load_yaml


def test_a_document_is_plain_values() -> None:
    actual = load_yaml("a: [1, 2.5, text, null, true]\nlanguage: no\n")
    assert actual == {"a": [1, 2.5, "text", None, True], "language": "no"}
    assert type(actual) is dict
    assert load_yaml("") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", r"^line 3: "),
        ("a: 1\na: 2\n", r"^line 2: .*duplicate key"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("a: 2024-13-45\n", "month must be in"),
        ("a: \x07", "."),
        ("[" * 5000, "."),
    ],
)
def test_anything_else_is_a_value_error_of_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load_yaml(text)
    assert "\n" not in str(raised.value)
