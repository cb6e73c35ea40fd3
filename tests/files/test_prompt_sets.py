"""Splits: from the top, by seed or as slices; and no prompt is used twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompt_sets import (
    Placed,
    ReadSplit,
    check_new_prompts,
    check_no_shared_prompts,
    cut_splits,
    read_all,
    read_local_prompts,
    refuse_listed,
)
from unwrite.files.prompts import Prompt
from unwrite.schema.params import PromptSource, Slices

SIZES = {"train": 2, "validation": 1, "test": 1}


def placed(*texts: str) -> list[Placed]:
    return [(f"line {number}", Prompt(text, None)) for number, text in enumerate(texts, 1)]


def reading(*texts: str) -> ReadSplit:
    return lambda _split: iter(placed(*texts))


def cut(texts: Sequence[str], sizes: dict[str, int] = SIZES, **source: Any) -> dict[str, list[str]]:
    dropped = Counter[str]()
    splits = cut_splits(PromptSource(source="x", **source), reading(*texts), sizes, dropped)
    return {name: [prompt.text for _, prompt in prompts] for name, prompts in splits.items()}


def test_splits_are_cut_from_the_top_in_order_without_repetitions() -> None:
    expected = {"train": ["a", "b"], "validation": ["c"], "test": ["d"]}
    assert cut(["a", "b", "c", "d", "unused"]) == expected
    dropped = Counter[str]()
    splits = cut_splits(PromptSource(source="x"), reading("a", "A", "b", "c", "b ", "d"), SIZES, dropped)
    assert {name: [p.text for _, p in prompts] for name, prompts in splits.items()} == expected
    assert dropped == {"prompt(s) that repeat an earlier one": 2}


def test_nothing_is_read_beyond_the_splits() -> None:
    def endless(_split: str | None) -> Iterator[Placed]:
        yield from placed("a", "b", "c", "d")
        raise AssertionError

    assert cut_splits(PromptSource(source="x"), endless, SIZES, Counter())["test"] == [("line 4", Prompt("d", None))]


def test_the_number_of_missing_prompts_is_stated() -> None:
    with pytest.raises(UnwriteError) as caught:
        cut(["a", "A", "a"])
    assert str(caught.value) == (
        "x holds 1 prompts; tokenize.splits needs 4 (2 train + 1 validation + 1 test). Add 3 or lower the splits."
    )


def test_a_seed_gives_the_same_random_prompts_in_any_order_of_the_file() -> None:
    texts = [f"prompt {number}" for number in range(200)]
    first = cut(texts, seed=0)
    assert cut(texts[::-1], seed=0) == first
    assert cut([*texts, *texts], seed=0) == first
    assert cut(texts, seed=1) != first
    chosen = [text for prompts in first.values() for text in prompts]
    assert len(set(chosen)) == 4
    assert chosen != sorted(chosen, key=texts.index)
    with pytest.raises(UnwriteError, match="holds 3 prompts"):
        cut(["a", "b", "c", "a"], seed=0)


def test_repetitions_of_what_the_seed_chose_are_counted() -> None:
    dropped = Counter[str]()
    texts = [f"prompt {number}" for number in range(50)]
    cut_splits(PromptSource(source="x", seed=3), reading(*texts, *texts, *texts), SIZES, dropped)
    assert dropped == {"prompt(s) that repeat an earlier one": 8}


def test_every_prompt_is_as_likely_by_seed() -> None:
    texts = [f"prompt {number}" for number in range(10)]
    counts = Counter(text for seed in range(400) for text in cut(texts, {"test": 2}, seed=seed)["test"])
    assert set(counts) == set(texts)
    assert all(40 < count < 125 for count in counts.values())  # 80 expected, standard deviation 8


def test_slices_are_of_the_source_or_of_its_own_splits() -> None:
    slices = Slices(train="[1:3]", validation="[:1]", test="[3:]")
    expected = {"train": ["b", "c"], "validation": ["a"], "test": ["d", "e"]}
    assert cut(["a", "b", "b", "c", "d", "e"], slices=slices) == expected

    def own(split: str | None) -> Iterator[Placed]:
        return iter(placed(f"{split} 1", f"{split} 2", f"{split} 3"))

    slices = Slices(train="train[:2]", validation="[:1]", test="test[2:3]")
    source = PromptSource(source="x", split="dev", slices=slices)
    found = cut_splits(source, own, SIZES, Counter())
    assert {name: [p.text for _, p in prompts] for name, prompts in found.items()} == {
        "train": ["train 1", "train 2"],
        "validation": ["dev 1"],
        "test": ["test 3"],
    }


def test_only_the_prompts_of_slices_are_held() -> None:
    gone, held = list[int](), list[int]()

    class Counted(str):
        def __del__(self) -> None:
            gone.append(1)

    def read(_: str | None) -> Iterator[Placed]:
        for number in range(100):
            held.append(number - len(gone))
            yield "", Prompt(Counted(number), None)

    source = PromptSource(source="x", slices=Slices(train="[:2]", validation="[50:51]", test="[98:99]"))
    found = cut_splits(source, read, SIZES, Counter())
    assert [prompt.text for prompts in found.values() for _, prompt in prompts] == ["0", "1", "50", "98"]
    assert max(held) <= 5  # of the 98 that were read when the last one is


@pytest.mark.parametrize("test", ["[2:9]", "[5:]", "[7:9]"])
def test_a_slice_beyond_the_prompts_is_refused(test: str) -> None:
    with pytest.raises(UnwriteError, match=r"x holds 3 prompts, fewer than the slice .* of test needs"):
        cut(["a", "b", "c"], slices=Slices(train="[:1]", validation="[1:2]", test=test))


def test_an_extra_set_is_all_of_its_source_or_a_slice() -> None:
    read = reading("a", "A", "b", "c")
    assert [prompt.text for _, prompt in read_all(PromptSource(source="x"), read, Counter())] == ["a", "b", "c"]
    sliced = PromptSource(source="x", slices=Slices(test="[1:2]"))
    assert [prompt.text for _, prompt in read_all(sliced, read, Counter())] == ["b"]
    with pytest.raises(UnwriteError, match="x holds no prompts"):
        read_all(PromptSource(source="x"), reading(), Counter())


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a\nA\nb\n")
    assert read_local_prompts(PromptSource(source=str(tmp_path / "x.txt"))) == prompts("a", "b")
    with pytest.raises(UnwriteError, match=r"y\.txt cannot be read"):
        read_local_prompts(PromptSource(source=str(tmp_path / "y.txt")))


def prompts(*texts: str, system_prompt: str | None = None) -> list[Prompt]:
    return [Prompt(text, None, system_prompt) for text in texts]


def test_distinct_prompts_and_other_system_prompts_pass() -> None:
    sets = {
        "target": {"train": prompts("a", system_prompt="You are a pirate."), "test": prompts("ab")},
        "baseline": {"train": prompts("a")},
    }
    found = check_no_shared_prompts(sets)
    assert [found[prompt.key] for prompt in prompts("ab", "a")] == ["target test", "baseline train"]


@pytest.mark.parametrize(("set_name", "split"), [("target", "train"), ("target", "test"), ("baseline", "test")])
def test_both_places_of_a_repeated_prompt_are_named(set_name: str, split: str) -> None:
    sets = {"target": {"train": prompts("What is tea?"), "test": prompts("x")}, "baseline": {"test": prompts("y")}}
    sets[set_name][split] = [*sets[set_name][split], Prompt("what IS tea?", "another reference")]
    message = rf"'what IS tea\?' is in target train and again in {set_name} {split}\. Keep one of each"
    with pytest.raises(UnwriteError, match=message):
        check_no_shared_prompts(sets)


def test_all_repeated_prompts_are_listed_up_to_a_number() -> None:
    texts = [f"prompt {number}" for number in range(8)]
    with pytest.raises(UnwriteError) as caught:
        check_no_shared_prompts({"target": {"train": prompts(*texts)}, "baseline": {"train": prompts(*texts)}})
    assert all((repr(text) in str(caught.value)) == (number < 5) for number, text in enumerate(texts))
    assert "; and 3 more. Keep one of each" in str(caught.value)
    refuse_listed([], "")


def test_a_prompt_that_is_used_already_is_named_by_its_place() -> None:
    used = check_no_shared_prompts({"target": {"train": prompts("What is tea?")}})
    check_new_prompts(placed("tea tree"), used)
    with pytest.raises(UnwriteError, match=r"line 2: the prompt 'what IS  tea\?' is also in target train\. A prompt"):
        check_new_prompts(placed("tea tree", "what IS  tea?"), used)
