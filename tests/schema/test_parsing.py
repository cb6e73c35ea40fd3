"""A valid record is read back as it was written; every other one is refused in one line that states the reason."""

import json

import pytest
from pydantic import BaseModel

from unwrite.errors import UnwriteError
from unwrite.schema.parsing import FORMAT, parse_record, refuse_other_format


class TeaOrder(BaseModel):
    format: int = FORMAT
    cups: int


def refusal(data: bytes) -> str:
    with pytest.raises(UnwriteError) as caught:
        parse_record(TeaOrder, data, "order.json")
    return str(caught.value)


def test_record_is_read_back_as_it_was_written() -> None:
    assert parse_record(TeaOrder, TeaOrder(cups=2).model_dump_json().encode(), "order.json") == TeaOrder(cups=2)


def test_the_first_wrong_field_is_named() -> None:
    message = refusal(json.dumps({"format": FORMAT, "cups": "many"}).encode())
    assert message.startswith("order.json is not a valid tea order (cups: Input should be a valid integer")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"format": 2, "cups": 1, "cups": 2}', "order.json has the key 'cups' twice in one object"),
        (b'{"format": 2, "cups": ' + b"1" * 400 + b"}", "order.json has a whole number of 400 digits"),
    ],
)
def test_ambiguous_record_is_refused(data: bytes, message: str) -> None:
    assert refusal(data) == message


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff", b'{"format": "two"}', b'{"format": true}'])
def test_damaged_data_is_not_mistaken_for_another_format(data: bytes) -> None:
    assert refusal(data).startswith("order.json is not a valid tea order (")


@pytest.mark.parametrize(("version", "reader"), [(1, "unwrite 0.1"), (FORMAT + 1, "a newer unwrite")])
def test_another_format_names_the_version_that_reads_it(version: int, reader: str) -> None:
    expected = f"order.json has format {version}, which {reader} reads; this version reads format {FORMAT}"
    assert refusal(json.dumps({"format": version, "pots": 1}).encode()) == expected
    with pytest.raises(UnwriteError, match=reader):
        refuse_other_format(version, "order.json")


def test_this_format_and_none_are_not_refused() -> None:
    refuse_other_format(FORMAT, "order.json")
    refuse_other_format(None, "order.json")
