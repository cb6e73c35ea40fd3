"""How many prompts each split takes, fitted to the prompts that there are."""

from __future__ import annotations

from unwrite.errors import UnwriteError

_ENOUGH = {"train": 400, "validation": 100, "test": 100}
_FEWEST = 6
_FEW = 60
"""Test prompts below which the interval of a rate is wider than 25 percentage points."""


def fitted_splits(target: int, baseline: int) -> dict[str, int]:
    """Return the prompts per split: 400 + 100 + 100, or of fewer prompts two thirds, a sixth and a sixth.

    Args:
        target: number of target prompts.
        baseline: number of baseline prompts; both sets have the same splits.

    Raises:
        UnwriteError: there are fewer than six of either.
    """
    prompts = min(target, baseline)
    if prompts < _FEWEST:
        raise UnwriteError(
            f"a project needs at least {_FEWEST} target and {_FEWEST} baseline prompts, got {target} and {baseline}. "
            "600 of each are a good number."
        )
    if prompts >= sum(_ENOUGH.values()):
        return dict(_ENOUGH)
    part = prompts // 6
    return {"train": prompts - 2 * part, "validation": part, "test": part}


def splits_text(splits: dict[str, int], target: int, baseline: int) -> str:
    """Return what was chosen, and what to know about it, in one line."""
    parts = " + ".join(f"{size} {name}" for name, size in splits.items())
    used = sum(splits.values())
    unused = [f"{name} prompts: {count}" for name, count in (("target", target), ("baseline", baseline))]
    rest = f" The first {used} of each are used ({', '.join(unused)})." if max(target, baseline) > used else ""
    few = splits["test"] < _FEW
    wide = f" Rates of {splits['test']} test prompts have wide intervals: bring more if you can." if few else ""
    return f"tokenize.splits: {parts}.{rest}{wide}"
