"""Equal reasons share a line that names every layer and the span of what was measured; others stay apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from unwrite.schema.reasons import grouped_reasons, ranges


def test_equal_reasons_of_layers_share_a_line() -> None:
    reasons = [
        f"layer {layer}: {share}% of the output is not explained by mlp" for layer, share in enumerate((9.5, 12.0, 3.1))
    ]
    assert grouped_reasons(reasons) == ["layers 0–2: 3.1% to 12.0% of the output is not explained by mlp"]
    left = [f"layer {layer}: {value} is still written" for layer, value in ((4, "2.0e-03"), (1, "1.0e-02"))]
    assert grouped_reasons(left) == ["layers 1, 4: 2.0e-03 to 1.0e-02 is still written"]


def test_other_reasons_stay_apart_and_in_order() -> None:
    reasons = [
        "layer 0: mlp.experts.1 (Experts) cannot be edited exactly",
        "something writes the stream between layers 0 and 1",
        "layer 1: mlp.experts.2 (Experts) cannot be edited exactly",
        "layer 2: mlp.experts.1 (Experts) cannot be edited exactly",
        "something writes the stream between layers 1 and 2",
    ]
    assert grouped_reasons(reasons) == [
        "layers 0, 2: mlp.experts.1 (Experts) cannot be edited exactly",
        reasons[1],
        reasons[2],
        reasons[4],
    ]
    assert grouped_reasons([]) == []


def test_two_reasons_of_one_layer_are_both_listed() -> None:
    reasons = ["layer 0: a (Linear) fails", "layer 0: b (Linear) fails", "layer 1: a (Linear) fails"]
    assert grouped_reasons(reasons) == ["layers 0–1: a (Linear) fails", "layer 0: b (Linear) fails"]


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_name_every_number_once(numbers: set[int]) -> None:
    named: list[int] = []
    for run in ranges(numbers).split(", "):
        first, _, last = run.partition("–")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(numbers)
