"""Nested mappings become one; lists and empty mappings are values."""

from unwrite.schema.dotted_keys import flattened


def test_nested_mappings_are_flattened_by_dotted_key() -> None:
    nested = {"a": {"b": {"c": 1}, "d": [{"e": 2}]}, "f": {}, "g": None, 1: {True: "x"}}
    assert flattened(nested) == {"a.b.c": 1, "a.d": [{"e": 2}], "f": {}, "g": None, "1.True": "x"}
