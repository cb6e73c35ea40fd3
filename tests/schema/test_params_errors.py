from pydantic import BaseModel, ConfigDict, ValidationError

from unwrite.schema.params_errors import describe_errors, describe_value


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    height: int


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    inner: Inner


def lines(data: object) -> list[str]:
    try:
        Outer.model_validate(data)
    except ValidationError as error:
        return describe_errors(error.errors(), Outer)
    return []


def test_each_mistake_is_one_line_with_its_key() -> None:
    assert lines({"inner": {"height": 3}}) == []
    assert lines({"inner": {"height": "tall"}}) == ["inner.height must be an integer, got 'tall' (text)."]
    assert lines({"inner": {"hight": 3}}) == ["unknown key inner.hight; did you mean inner.height?"]
    assert lines({"inner": {"height": 3, "zzz": 1}}) == ["unknown key inner.zzz; known keys: height."]
    assert lines({"inner": {}}) == ["inner.height is missing; every key must be given."]


def test_values_are_described_in_words() -> None:
    assert describe_value(None) == "null"
    assert describe_value(True) == "true"
    assert describe_value({}) == "a mapping"
    assert describe_value([1, 2]) == "the list [1, 2]"
    assert describe_value("x") == "'x' (text)"
    assert len(describe_value("x" * 1000)) < 100
