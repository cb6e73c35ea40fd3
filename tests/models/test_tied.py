"""A tied parameter is listed with all of its names."""

from __future__ import annotations

from torch import nn

from unwrite.models.tied import names_of_parameters


def test_each_name_of_a_tied_parameter_lists_all_of_them() -> None:
    model = nn.ModuleDict({"first": nn.Linear(3, 3), "second": nn.Linear(3, 3)})
    model["second"].weight = model["first"].weight
    names = names_of_parameters(model)
    assert names["second.weight"] == names["first.weight"] == ["first.weight", "second.weight"]
    assert names["first.bias"] == ["first.bias"]
    assert set(names) == {"first.weight", "first.bias", "second.weight", "second.bias"}


def test_a_module_used_twice_has_its_parameters_under_both_names() -> None:
    shared = nn.Linear(2, 2, bias=False)
    names = names_of_parameters(nn.ModuleList([shared, shared]))
    assert names == {"0.weight": ["0.weight", "1.weight"], "1.weight": ["0.weight", "1.weight"]}
