"""Prompt sets: two file types, splits cut from the top, and no prompt twice."""

import json
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.prompts import (
    Prompt,
    check_no_shared_prompts,
    cut_splits,
    read_extra_set,
    read_markers,
    read_prompts,
)
from unwrite.schema.params import load_params

REPOSITORY = Path(__file__).resolve().parents[2]


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(text, None) for text in texts]


def test_jsonl_can_hold_references(tmp_path: Path) -> None:
    content = '{"prompt": " one ", "reference": "1"}\n\n{"prompt": "two", "reference": null}\n{"prompt": "three"}\n'
    read = read_prompts(file(tmp_path, "x.jsonl", content))
    assert read == [Prompt("one", "1"), Prompt("two", None), Prompt("three", None)]


def test_other_keys_of_a_row_are_ignored(tmp_path: Path) -> None:
    assert read_prompts(file(tmp_path, "x.jsonl", '{"prompt": "one", "kind": 5}')) == prompts("one")


@pytest.mark.parametrize("content", ["one\n\n  two \n", "one\r\ntwo\r\n", "\ufeffone\ntwo"])
def test_a_text_file_holds_one_prompt_per_line(tmp_path: Path, content: str) -> None:
    assert read_prompts(file(tmp_path, "x.txt", content)) == prompts("one", "two")


@pytest.mark.parametrize(
    "content", ['{"prompt": "one"}\r\n{"prompt": "two"}', '\ufeff{"prompt": "one"}\n{"prompt": "two"}']
)
def test_jsonl_is_read_as_other_editors_save_it(tmp_path: Path, content: str) -> None:
    assert read_prompts(file(tmp_path, "x.jsonl", content)) == prompts("one", "two")


def test_a_line_separator_inside_a_prompt_does_not_split_it(tmp_path: Path) -> None:
    row = json.dumps({"prompt": "one\u2028still one\nand two"}, ensure_ascii=False)
    assert read_prompts(file(tmp_path, "x.jsonl", row)) == prompts("one\u2028still one\nand two")


@pytest.mark.parametrize("depth", [3, 400, 5000])
def test_a_deeply_nested_prompt_is_one_short_line(tmp_path: Path, depth: int) -> None:
    with pytest.raises(UnwriteError, match=r"x\.jsonl, line 1: ") as caught:
        read_prompts(file(tmp_path, "x.jsonl", f'{{"prompt": {"[" * depth + "]" * depth}}}'))
    message = str(caught.value).removeprefix(str(tmp_path))
    assert len(message) < 120
    assert "\n" not in message


@pytest.mark.parametrize("name", ["x.csv", "x", "x.json"])
def test_another_file_type_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnwriteError, match=r"must end in .jsonl or .txt, got"):
        read_prompts(file(tmp_path, name, "one"))


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt"])
@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "  \n"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(UnwriteError, match=f"{name} holds no prompt"):
        read_prompts(file(tmp_path, name, content))


@pytest.mark.parametrize("name", ["x.jsonl", "x.txt"])
def test_missing_files_and_wrong_encodings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnwriteError, match=rf"{name} cannot be read .*: check the path in params.yaml"):
        read_prompts(tmp_path / name)
    with pytest.raises(UnwriteError, match=f"{name} is not UTF-8"):
        read_prompts(file(tmp_path, name, '{"prompt": "café"}'.encode("latin-1")))


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"x.jsonl, line 3: not JSON"):
        read_prompts(file(tmp_path, "x.jsonl", '{"prompt": "one"}\n\nwhat is tea?\n'))


def test_a_line_without_a_prompt_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r'x.jsonl, line 2: expected an object with "prompt"'):
        read_prompts(file(tmp_path, "x.jsonl", '{"prompt": "one"}\n{"promt": "two"}\n'))


@pytest.mark.parametrize("value", [None, 5, [], {}, "", "  ", True])
def test_a_prompt_that_is_not_text_is_named(tmp_path: Path, value: object) -> None:
    rows = f'{{"prompt": "one"}}\n{json.dumps({"prompt": value})}\n'
    with pytest.raises(UnwriteError, match=r'x.jsonl, line 2: "prompt" must be text, got') as caught:
        read_prompts(file(tmp_path, "x.jsonl", rows))
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("value", [5, [], {}, False, "", " ", "**", "\u200b"])
def test_a_reference_that_no_response_could_equal_is_named(tmp_path: Path, value: object) -> None:
    rows = json.dumps({"prompt": "one", "reference": value})
    with pytest.raises(UnwriteError, match=r"x.jsonl, line 1: \"reference\" of 'one' must be an answer or null, got"):
        read_prompts(file(tmp_path, "x.jsonl", rows))


@pytest.mark.parametrize("key", ["prompt", "reference"])
def test_half_a_character_is_refused(tmp_path: Path, key: str) -> None:
    # JSON can escape half of a surrogate pair, which neither tokenizers nor UTF-8 accept.
    rows = json.dumps({"prompt": "one", key: "half \ud83d"})
    with pytest.raises(UnwriteError, match=f'"{key}" .*must be (text|an answer)'):
        read_prompts(file(tmp_path, "x.jsonl", rows))


def test_marks_in_the_middle_and_lines_without_ink_are_dropped_with_a_count(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    content = "\ufeffone\n\ufefftwo\n\u200b\n\u2800\u3164 \ufe0f\nth\ufeffree\n"
    assert read_prompts(file(tmp_path, "x.txt", content)) == prompts("one", "two", "three")
    assert "x.txt: dropped 1 byte order mark(s) from the middle of the file" in caplog.text
    assert "x.txt: dropped 2 line(s) of invisible characters" in caplog.text
    assert "x.txt: dropped 1 byte order mark(s) inside prompts" in caplog.text


def test_ordinary_files_say_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert read_prompts(file(tmp_path, "x.txt", "\ufeffone\n\n  \ncafe\u0301 👩\u200d🍳\n")) == prompts(
        "one", "cafe\u0301 👩\u200d🍳"
    )
    assert caplog.text == ""


def test_joined_jsonl_files_keep_their_prompts(tmp_path: Path) -> None:
    content = '\ufeff{"prompt": "one"}\n\ufeff{"prompt": "\\ufefftwo"}\n'
    assert read_prompts(file(tmp_path, "x.jsonl", content)) == prompts("one", "two")


def test_an_invisible_prompt_in_jsonl_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r'x.jsonl, line 3: "prompt" must be text'):
        read_prompts(file(tmp_path, "x.jsonl", '{"prompt": "one"}\n\n{"prompt": "\u200b"}\n'))


# Splits

SIZES = {"train": 2, "validation": 1, "test": 1}


def test_splits_are_cut_from_the_top_in_order() -> None:
    splits = cut_splits(Path("x"), prompts("a", "b", "c", "d", "unused"), SIZES)
    assert splits == {"train": prompts("a", "b"), "validation": prompts("c"), "test": prompts("d")}


def test_the_number_of_missing_prompts_is_stated() -> None:
    with pytest.raises(UnwriteError) as caught:
        cut_splits(Path("x"), prompts("a"), SIZES)
    assert str(caught.value) == (
        "x holds 1 prompts; tokenize.splits needs 4 (2 train + 1 validation + 1 test). Add 3 or lower the splits."
    )


def test_just_enough_prompts_pass() -> None:
    assert sum(map(len, cut_splits(Path("x"), prompts("a", "b", "c", "d"), SIZES).values())) == 4


def test_distinct_prompts_pass() -> None:
    check_no_shared_prompts(
        {"target": {"train": prompts("a"), "test": prompts("ab")}, "baseline": {"train": prompts("b")}}
    )


@pytest.mark.parametrize(
    "again",
    [
        "What is tea?",
        "what IS tea?",
        "What  is\ttea?",
        " What is\n tea? ",
        "Ｗhat is tea？",  # full width
        "What is\u200b t\u00adea?",
        "What is\u00a0tea\u2060?",
    ],
)
@pytest.mark.parametrize(
    ("set_name", "split", "places"),
    [
        ("target", "train", "in target train and again in target train"),
        ("target", "test", "in target train and again in target test"),
        ("baseline", "test", "in target train and again in baseline test"),
    ],
)
def test_both_places_of_a_repeated_prompt_are_named(again: str, set_name: str, split: str, places: str) -> None:
    sets = {"target": {"train": prompts("What is tea?"), "test": prompts("x")}, "baseline": {"test": prompts("y")}}
    sets[set_name][split] = [*sets[set_name][split], Prompt(again, "another reference")]
    with pytest.raises(UnwriteError, match=f"{places}: keep one of them") as caught:
        check_no_shared_prompts(sets)
    assert repr(again) in str(caught.value)


def test_the_sets_of_the_repository_are_disjoint() -> None:
    settings = load_params(REPOSITORY / "params.yaml").tokenize
    sizes = settings.splits.model_dump()
    paths = {"target": REPOSITORY / settings.target, "baseline": REPOSITORY / settings.baseline}
    check_no_shared_prompts({name: cut_splits(path, read_prompts(path), sizes) for name, path in paths.items()})


# Extra sets


def test_an_extra_set_is_read_with_its_references(tmp_path: Path) -> None:
    sets = {"target": {"train": prompts("What is tea?")}}
    path = file(tmp_path, "near.jsonl", '{"prompt": "What is a tea tree?", "reference": "A plant."}\n')
    assert read_extra_set(path, sets) == [Prompt("What is a tea tree?", "A plant.")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("What is it?\n\nwhat IS  tea?\n", r"near.txt, line 3: the prompt 'what IS  tea\?' is also in target train"),
        ("What is it?\nwhat is it?\n", r"near.txt, line 2: the prompt 'what is it\?' is also in line 1"),
    ],
)
def test_a_prompt_that_is_used_already_is_named_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    sets = {"target": {"train": prompts("What is tea?")}, "baseline": {"test": prompts("x")}}
    with pytest.raises(UnwriteError, match=message):
        read_extra_set(file(tmp_path, "near.txt", content), sets)


# Markers


def test_markers_are_the_lines_that_are_not_comments(tmp_path: Path) -> None:
    content = "\ufeff# source: us\r\n\r\n I can't \r\n  # indented comment\nno # comment here\n"
    assert read_markers(file(tmp_path, "m.txt", content)) == ["I can't", "no # comment here"]


@pytest.mark.parametrize("content", ["", "\n", "# only\n# comments\n"])
def test_a_list_without_a_marker_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt holds no marker: nothing could count as showing the behaviour"):
        read_markers(file(tmp_path, "m.txt", content))


def test_a_missing_marker_list_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt is missing: .*`unwrite markers --write .*m.txt` proposes"):
        read_markers(tmp_path / "m.txt")


@pytest.mark.parametrize("marker", ["**", "\u200b", "\u2060 *"])
def test_a_marker_that_every_response_would_contain_is_named(tmp_path: Path, marker: str) -> None:
    with pytest.raises(UnwriteError, match=r"m.txt, line 3: the marker .* is empty once normalized.*Remove the line"):
        read_markers(file(tmp_path, "m.txt", f"# a comment\nsorry\n{marker}\n"))
