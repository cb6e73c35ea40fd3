"""The record of the kept prompts refuses rows that are no prompts."""

import pytest
from pydantic import ValidationError

from unwrite.schema.kept_prompts import KeptOfSet


@pytest.mark.parametrize("rows", [[0, 3], [-1, 0], [1, 0], [1, 1]])
def test_rows_must_be_distinct_prompts_in_order(rows: list[int]) -> None:
    with pytest.raises(ValidationError, match="rows must be distinct, ascending, and below 3"):
        KeptOfSet(prompts=3, shown=2, rows=rows)


def test_any_subset_is_a_record() -> None:
    assert KeptOfSet(prompts=3, shown=None, rows=[0, 1, 2]).rows == [0, 1, 2]
    assert KeptOfSet(prompts=3, shown=1, rows=[1]).shown == 1
