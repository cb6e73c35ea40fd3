"""The record of the training prompts that the directions are computed from."""

from __future__ import annotations

from pydantic import model_validator

from unwrite.schema.artifacts import Artifact


class KeptOfSet(Artifact):
    """The training prompts of one set; `shown` is None where every prompt is kept whatever its response.

    prompts: how many there are.
    shown: how many of the base model's responses show the behaviour.
    rows: numbers of the kept prompts, from 0, ascending.
    """

    prompts: int
    shown: int | None
    rows: list[int]

    @model_validator(mode="after")
    def _rows_are_prompts(self) -> KeptOfSet:
        if self.rows != sorted(set(self.rows) & set(range(self.prompts))):
            raise ValueError(f"rows must be distinct, ascending, and below {self.prompts}")
        return self


class KeptPrompts(Artifact):
    """`artifacts/kept_prompts.json`: the training prompts that the directions are computed from."""

    target: KeptOfSet
    baseline: KeptOfSet
