"""A manifest reveals no path that leads out of the project."""

import pytest

from unwrite.release.public_values import public_parameters, public_path


@pytest.mark.parametrize(
    ("path", "published"),
    [
        ("prompts/x.jsonl", "prompts/x.jsonl"),
        ("/home/ada/x.jsonl", "x.jsonl"),
        ("../ada/x.jsonl", "x.jsonl"),
        ("prompts/../../ada/x.jsonl", "x.jsonl"),
        ("~/x.jsonl", "x.jsonl"),
        (r"C:\Users\ada\x.jsonl", "x.jsonl"),
        ("organisation/name", "organisation/name"),
    ],
)
def test_path_out_of_the_project_is_published_by_its_last_part_only(path: str, published: str) -> None:
    assert public_path(path) == published
    assert public_parameters("judge", {"markers": path}) == {"markers": published}
    nested = {"benchmarks": [path], "harness": {"task_folder": path, "limit": 3}}
    assert public_parameters("evaluate", nested) == nested | {"harness": {"task_folder": published, "limit": 3}}


def test_the_source_of_a_prompt_set_is_a_path_too() -> None:
    given = {"target": {"source": "/home/ada/x.csv", "prefix": "/home"}, "baseline": "../ada/y.csv"}
    assert public_parameters("tokenize", given) == {
        "target": {"source": "x.csv", "prefix": "/home"},
        "baseline": "y.csv",
    }
    assert public_parameters("evaluate", {"sets": {"near": {"prompts": {"source": "/ada/z.csv"}}}}) == {
        "sets": {"near": {"prompts": {"source": "z.csv"}}}
    }
