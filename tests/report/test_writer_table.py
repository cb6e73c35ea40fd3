"""The table of writers: one row for similar layers, and every column as found."""

from __future__ import annotations

from unwrite.models.discovery.findings import Discovery, FoundNorm, FoundWriter
from unwrite.report.writer_table import writers_table


def writer(layer: int, **changes: object) -> FoundWriter:
    plain = FoundWriter(
        module=f"model.layers.{layer}.mlp.down_proj",
        parameter=f"model.layers.{layer}.mlp.down_proj.weight",
        axis=0,
        num_matrices=1,
        bias=None,
        bias_axis=0,
        layer=layer,
        component="mlp",
        multiplier=1.0,
        norms=(),
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


def table(
    *writers: FoundWriter, incomplete: tuple[str, ...] = (), padding_sensitive: bool = False, streams: int = 1
) -> list[str]:
    found = Discovery("TinyForCausalLM", 3, 32, 96, list(writers), 2e-10, list(incomplete), padding_sensitive, streams)
    return writers_table(found, {one.parameter: [32, 48] for one in writers}).splitlines()


def test_similar_layers_share_a_row() -> None:
    lines = table(writer(0), writer(1), writer(2, multiplier=0.22))
    assert [line.split()[:3] for line in lines[2:4]] == [
        ["0–1", "mlp", "model.layers.*.mlp.down_proj.weight"],
        ["2", "mlp", "model.layers.*.mlp.down_proj.weight"],
    ]
    assert lines[3].split()[-2:] == ["0.22", "none"]
    assert lines[-1] == "TinyForCausalLM: 3 layers, 3 writers; 2.0e-10 of a layer's output is left unexplained."


def test_every_property_of_a_writer_is_in_its_row() -> None:
    norms = (FoundNorm("model.layers.0.norm_1", "model.layers.0.norm_1.weight", 0.0), FoundNorm("a.norm_2", None, 1.0))
    row = table(writer(0, bias="b", axis=2, num_matrices=8, multiplier=None, norms=norms, shared_layers=(2,)))[2]
    assert row.split()[0:2] == ["0,", "2"]
    assert row.split("weight")[1].split() == ["32", "×", "48", "2", "8", "yes", "varies", "norm_1,", "norm_2"]


def test_only_the_layer_number_is_replaced() -> None:
    row = table(writer(1, parameter="model.layers.1.mlp.experts.1.w1.weight"))[2]
    assert "model.layers.*.mlp.experts.1.w1.weight" in row


def test_last_line_says_incomplete_or_batched_by_equal_length() -> None:
    assert table(writer(0), incomplete=("layer 0: why",))[-1].endswith("incomplete.")
    assert table(writer(0), padding_sensitive=True)[-1].endswith("prompts are batched by equal length.")


def test_last_line_says_that_there_are_several_streams() -> None:
    assert table(writer(0), streams=4)[-1].endswith("left unexplained; the residual is the mean of 4 streams.")
    assert "streams" not in table(writer(0))[-1]


def test_a_norm_is_shown_with_what_it_does() -> None:
    norms = (FoundNorm("a.first", None, 1.0, centered=True), FoundNorm("a.last", "w", 0.0, centered=True, bias="b"))
    assert table(writer(0, norms=norms))[2].endswith("first (centered), last (centered, bias)")
