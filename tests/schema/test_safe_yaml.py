"""YAML is read as plain values, and whatever is not YAML is a ValueError of one line."""

import pytest

from unwrite.schema.safe_yaml import load_yaml

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))


def test_aliases_and_some_nesting_are_read() -> None:
    assert load_yaml("a: &a [1]\nb: [*a, *a]\n") == {"a": [1], "b": [[1], [1]]}
    assert load_yaml("[" * 40 + "]" * 40)


def test_a_document_is_plain_values() -> None:
    actual = load_yaml("a: [1, 2.5, text, null, true]\nlanguage: no\n")
    assert actual == {"a": [1, 2.5, "text", None, True], "language": "no"}
    assert type(actual) is dict
    assert load_yaml("") is None


def test_a_document_read_again_is_the_same_and_the_callers_own() -> None:
    first = load_yaml("a: &a [1]\nb: *a\n")
    first["a"].append(2)
    assert first["b"] == [1, 2]  # the alias stays one
    assert load_yaml("a: &a [1]\nb: *a\n") == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1\n", r"^line 3: "),
        ("a: 1\na: 2\n", r"^line 2: .*duplicate key"),
        ("a: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        ("a: 2024-13-45\n", "month must be in"),
        ("a: \x07", "."),
        ("[" * 5000, "."),
        ("[" * 60 + "]" * 60, "nested more than 50 levels"),
        ("{a: " * 60 + "1" + "}" * 60, "nested more than 50 levels"),
        ("a: &a [*a]", "."),
        (BOMB, "its aliases .* stand for more than"),
    ],
)
def test_anything_else_is_a_value_error_of_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        load_yaml(text)
    assert "\n" not in str(raised.value)
