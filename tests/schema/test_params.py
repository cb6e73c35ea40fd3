"""Every mistake in params.yaml is one line that names the key, what it must be and what it is."""

import copy
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from unwrite.errors import UnwriteError
from unwrite.schema.params import Params, load_params

ROOT = Path(__file__).parents[2]

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "params.yaml").read_text(encoding="utf-8")
VALID: dict[str, Any] = YAML(typ="safe").load(TEXT)
SECTIONS = (
    "model, tokenize, residuals, filter, directions, geometry, judge, optimize, select, adapter, causality, generate, "
    "score, evaluate, report, runtime"
)
SPACE = "optimize.space"
NEAR_PROMPTS = "evaluate.sets.near.prompts must be text that is not empty, got '' (text)."
MEMORY = "must be bytes, or a text such as 20GiB or 500MB"
BATCH_TOKENS = "must be auto or an integer of at least 1"

Mistake = Callable[[dict[str, Any]], None]


def put(path: str, value: object) -> Mistake:
    *sections, key = path.split(".")

    def mistake(data: dict[str, Any]) -> None:
        for section in sections:
            data = data[section]
        data[key] = value

    return mistake


def rename(path: str, wrong: str) -> Mistake:
    *sections, key = path.split(".")

    def mistake(data: dict[str, Any]) -> None:
        for section in sections:
            data = data[section]
        data[wrong] = data.pop(key)

    return mistake


def drop(path: str) -> Mistake:
    *sections, key = path.split(".")

    def mistake(data: dict[str, Any]) -> None:
        for section in sections:
            data = data[section]
        del data[key]

    return mistake


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "params.yaml"


def load(file: Path, *mistakes: Mistake) -> Params:
    data = copy.deepcopy(VALID)
    for mistake in mistakes:
        mistake(data)
    with file.open("w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(data, stream)
    return load_params(file)


def error_lines(file: Path) -> list[str]:
    """Return the lines of the error, each without the file's name."""
    with pytest.raises(UnwriteError) as caught:
        load_params(file)
    message = str(caught.value)
    assert not re.search(r"type=|https?:|pydantic|Tuple|validation|Value error", message)
    return [line.removeprefix(f"{file}: ") for line in message.split("\n")]


def error_lines_about(file: Path, *mistakes: Mistake) -> list[str]:
    with pytest.raises(UnwriteError):
        load(file, *mistakes)
    return error_lines(file)


def test_file_of_the_repository_is_valid() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    assert params.model_dump(mode="json") == VALID


def test_parameters_cannot_be_changed(file: Path) -> None:
    params = load(file)
    with pytest.raises(ValueError, match="frozen"):
        params.model.source = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "right",
    [
        put("directions.winsorize.quantile", 1),
        put("residuals.positions", [-1, -2, -5]),
        put("optimize.space.attention.max_weight", [1, 1]),
        put("optimize.space.attention.min_weight", [0, 1]),
        put("tokenize.today", None),
        put("tokenize.today", "2024-02-29"),
        put("tokenize.template_arguments", {"enable_thinking": False, "style": "short", "n": 1, "t": 0.5, "x": None}),
        put("model.revision", "main"),
        put("runtime.device", "cuda:3"),
        put("select.trial", 0),
        put("optimize.max_kl", 0.5),
        put("optimize.max_behaviour_rate", 0),
        put("optimize.sampler", "tpe"),
        put("optimize.random_trials", 1),
        put("runtime.batch_tokens", "auto"),
        put("runtime.batch_tokens", 1),
        put("runtime.max_memory", {}),
        put("runtime.max_memory", {0: "20GiB", 1: "500MB", "cpu": 60_000_000_000, "mps": 0}),
    ],
)
def test_values_at_the_limits_pass(file: Path, right: Mistake) -> None:
    load(file, right)


def test_memory_is_limited_only_where_devices_are_chosen(file: Path) -> None:
    def mistake(data: dict[str, Any]) -> None:
        data["runtime"] |= {"device": "cpu", "max_memory": {"cpu": "1GB"}}

    with pytest.raises(UnwriteError, match=r"runtime\.max_memory must be null unless runtime\.device is auto"):
        load(file, mistake)


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (put("optimize.trials", "many"), "optimize.trials must be an integer, got 'many' (text)."),
        (put("optimize.trials", 3.5), "optimize.trials must be an integer, got 3.5."),
        (put("optimize.trials", 3.0), "optimize.trials must be an integer, got 3.0."),
        (put("optimize.trials", True), "optimize.trials must be an integer, got true."),
        (put("optimize.trials", None), "optimize.trials must be an integer, got null."),
        (put("optimize.trials", 0), "optimize.trials must be at least 1, got 0."),
        (put("optimize.random_trials", 0), "optimize.random_trials must be at least 1, got 0."),
        *(
            (put("runtime.batch_tokens", value), f"runtime.batch_tokens {BATCH_TOKENS}, got {actual}.")
            for value, actual in ((0, "0"), (1.5, "1.5"), (True, "true"), (None, "null"), ("most", "'most' (text)"))
        ),
        *(
            (put("runtime.max_memory", value), f"runtime.max_memory{problem}.")
            for value, problem in (
                ("20GiB", " must be a mapping, got '20GiB' (text)"),
                ({"cuda:0": "20GiB"}, ".cuda:0 must be the number of a GPU, cpu or mps, got 'cuda:0' (text)"),
                ({-1: "20GiB"}, ".-1 must be the number of a GPU, cpu or mps, got -1"),
                ({0: "20 gigabytes"}, f".0 {MEMORY}, got '20 gigabytes' (text)"),
                ({0: "20gb"}, f".0 {MEMORY}, got '20gb' (text)"),  # bits, to accelerate
                ({"cpu": -1}, f".cpu {MEMORY}, got -1"),
                ({"cpu": 0.5}, f".cpu {MEMORY}, got 0.5"),
            )
        ),
        (put("optimize.max_kl", 0), "optimize.max_kl must be above 0.0, got 0."),
        (put("optimize.max_behaviour_rate", 5), "optimize.max_behaviour_rate must be at most 1.0, got 5."),
        (
            put("optimize.sampler", "cmaes"),
            "optimize.sampler must be 'gp', 'tpe_constrained' or 'tpe', got 'cmaes' (text).",
        ),
        (put("optimize.seed", 2**32), "optimize.seed must be below 4294967296, got 4294967296."),
        (put("tokenize.splits.train", 1), "tokenize.splits.train must be at least 2, got 1."),
        (put("optimize.edit_bias", "yes"), "optimize.edit_bias must be true or false, got 'yes' (text)."),
        (put("optimize.edit_bias", 1), "optimize.edit_bias must be true or false, got 1."),
        (put("directions.winsorize.quantile", 0), "directions.winsorize.quantile must be above 0.0, got 0."),
        (
            put("directions.winsorize.quantile", 1.5),
            "directions.winsorize.quantile must be at most 1.0, got 1.5.",
        ),
        (
            put("directions.winsorize.quantile", "0.9"),
            "directions.winsorize.quantile must be a number, got '0.9' (text).",
        ),
        (put("directions.winsorize", 0.9), "directions.winsorize must be a mapping with quantile, got 0.9."),
        (put("score.confidence", 1), "score.confidence must be below 1.0, got 1."),
        (put("residuals.positions", -1), "residuals.positions must be a list, got -1."),
        (put("residuals.positions", [0]), "residuals.positions.0 must be at most -1, got 0."),
        (put("residuals.positions", [-1, 0]), "residuals.positions.1 must be at most -1, got 0."),
        (put("residuals.positions", []), "residuals.positions must be a list of at least 1, got the list []."),
        (
            put("optimize.space.direction_scope", ["global", "global"]),
            "optimize.space.direction_scope must not list a scope twice, got the list ['global', 'global'].",
        ),
        (
            put("residuals.positions", [-1, -2, -1]),
            "residuals.positions must not list a position twice, got the list [-1, -2, -1].",
        ),
        (
            put(f"{SPACE}.mlp.max_weight", [2, 1]),
            f"{SPACE}.mlp.max_weight must be [low, high] with low no greater than high, got the list [2, 1].",
        ),
        (
            put(f"{SPACE}.mlp.min_weight", [-0.5, 1]),
            f"{SPACE}.mlp.min_weight must lie within [0, 1], got the list [-0.5, 1].",
        ),
        (
            put(f"{SPACE}.direction_index", [0, 1.25]),
            f"{SPACE}.direction_index must lie within [0, 1], got the list [0, 1.25].",
        ),
        (put(f"{SPACE}.mlp.max_weight", []), f"{SPACE}.mlp.max_weight must be a list of 2, got the list []."),
        (put(f"{SPACE}.mlp.max_weight", [1]), f"{SPACE}.mlp.max_weight must be a list of 2, got the list [1]."),
        (
            put(f"{SPACE}.mlp.max_weight", [1, 2, 3]),
            f"{SPACE}.mlp.max_weight must be a list of at most 2, got the list [1, 2, 3].",
        ),
        (put(f"{SPACE}.mlp.max_weight", [1, "x"]), f"{SPACE}.mlp.max_weight.1 must be a number, got 'x' (text)."),
        (
            put(f"{SPACE}.mlp.max_weight", [float("nan"), 1]),
            f"{SPACE}.mlp.max_weight.0 must be a finite number, got nan.",
        ),
        (
            put(f"{SPACE}.mlp.max_weight", [0, float("inf")]),
            f"{SPACE}.mlp.max_weight.1 must be a finite number, got inf.",
        ),
        (
            put(f"{SPACE}.direction_scope", ["everywhere"]),
            f"{SPACE}.direction_scope.0 must be 'global', 'per_layer' or 'spans', got 'everywhere' (text).",
        ),
        (
            put(f"{SPACE}.direction_scope", ["spans"]),
            f"{SPACE}.spans must list at least one [source, first, last], because direction_scope names spans, "
            "got the list [].",
        ),
        (
            put(f"{SPACE}.spans", [[4, 2, 5], [3, 0, 3]]),
            f"{SPACE}.spans must not overlap (layer 2 is in two spans), got the list [(4, 2, 5), (3, 0, 3)].",
        ),
        (put(f"{SPACE}.spans", [[1, 2]]), f"{SPACE}.spans.0 must be a list of 3, got the list [1, 2]."),
        (
            put(f"{SPACE}.spans", [[1, 5, 3]]),
            f"{SPACE}.spans.0 must be [source, first, last] with first no greater than last, got the list [1, 5, 3].",
        ),
        (
            put("tokenize.template_arguments", {"names": ["a"]}),
            "tokenize.template_arguments.names must be text, a finite number, true, false or null, got the list ['a'].",
        ),
        (
            put("tokenize.template_arguments", {1: "a"}),
            "tokenize.template_arguments.1 must be text, got 1: put it in quotes.",
        ),
        (
            put("tokenize.today", "soon"),
            "tokenize.today must be a date such as '2025-01-01', or null, got 'soon' (text).",
        ),
        (put("tokenize.today", 2025), "tokenize.today must be text, got 2025: put it in quotes."),
        (
            put("tokenize.today", date(2025, 1, 1)),
            "tokenize.today must be text, got 2025-01-01: put it in quotes.",
        ),
        (put("tokenize.template_arguments", None), "tokenize.template_arguments must be a mapping, got null."),
        (put("tokenize.target", None), "tokenize.target must be text, got null."),
        (put("model.revision", 1234567), "model.revision must be text, got 1234567: put it in quotes."),
        (put("model.source", ""), "model.source must be text that is not empty, got '' (text)."),
        (
            put("model", None),
            "model must be a mapping with source, revision, dtype, quantization, allow_incomplete, got null.",
        ),
        (put("model.quantization", "int4"), "model.quantization must be 'none', 'nf4' or 'int8', got 'int4' (text)."),
        (
            put("optimize.norm_preservation", "row"),
            "optimize.norm_preservation must be 'none', 'pre', 'rows' or 'columns', got 'row' (text).",
        ),
        (put("runtime.device", "gpu"), "runtime.device must be auto, cpu, cuda, cuda:N or mps, got 'gpu' (text)."),
        (
            put("runtime.device", "cuda:x"),
            "runtime.device must be auto, cpu, cuda, cuda:N or mps, got 'cuda:x' (text).",
        ),
        (put("select.trial", -1), "select.trial must be at least 0, got -1."),
        (
            put("evaluate.benchmarks", ["hellaswag", "hellaswag"]),
            "evaluate.benchmarks must not list a task twice, got the list ['hellaswag', 'hellaswag'].",
        ),
        (put("evaluate.harness.limit", 0), "evaluate.harness.limit must be at least 1, got 0."),
        (
            put("evaluate.sets", {"near-misses": {"prompts": "p.txt", "markers": None}}),
            "evaluate.sets.near-misses must be a name of small letters, digits and _, other than target, baseline and "
            "kl, got 'near-misses' (text).",
        ),
        (
            put("evaluate.sets", {"target": {"prompts": "p.txt", "markers": None}}),
            "evaluate.sets.target must be a name of small letters, digits and _, other than target, baseline and kl, "
            "got 'target' (text).",
        ),
        (put("evaluate.sets", {"near": {"prompts": "", "markers": None}}), NEAR_PROMPTS),
        (
            put("tokenize.closed_thoughts", [["<think>", "</think>"]]),
            "tokenize.closed_thoughts must hold pairs of an opening and the closed block in its place, which begins "
            "with it, got the list [('<think>', '</think>')].",
        ),
        (
            put("evaluate.gates", ["kl_response"]),
            "evaluate.gates must be a figure, one of <= >= < >, and a number, such as kl_response <= 0.2 in "
            "'kl_response', got the list ['kl_response'].",
        ),
        (
            put("evaluate.gates", ["kl_respons < 1"]),
            "evaluate.gates must name a figure of the evaluation (did you mean kl_response or kl_response.low or "
            "kl_response.high?) in 'kl_respons < 1', got the list ['kl_respons < 1'].",
        ),
    ],
)
def test_a_wrong_value_is_one_line_with_key_requirement_and_value(file: Path, mistake: Mistake, line: str) -> None:
    assert error_lines_about(file, mistake) == [line]


@pytest.mark.parametrize(
    ("mistake", "line"),
    [
        (rename("optimize.trials", "trails"), "unknown key optimize.trails; did you mean optimize.trials?"),
        (put("optimize.trails", 3), "unknown key optimize.trails; did you mean optimize.trials?"),
        (rename("directions", "direction"), "unknown key direction; did you mean directions?"),
        (rename("optimize", "optimise"), "unknown key optimise; did you mean optimize?"),
        (
            rename(f"{SPACE}.mlp.max_weight", "max_wieght"),
            f"unknown key {SPACE}.mlp.max_wieght; did you mean {SPACE}.mlp.max_weight?",
        ),
        (
            put("evaluate.sets", {"near": {"prompt": "p.txt", "prompts": "p.txt", "markers": None}}),
            "unknown key evaluate.sets.near.prompt; did you mean evaluate.sets.near.prompts?",
        ),
        (
            put("evaluate.sets", {"near": {"prompts": "p.txt"}}),
            "evaluate.sets.near.markers is missing; every key must be given.",
        ),
        (
            put("judge.classifier", {"source": "x", "revision": None, "label": "y", "treshold": 0.5}),
            "unknown key judge.classifier.treshold; did you mean judge.classifier.threshold?",
        ),
        (put("score.zzz", 3), "unknown key score.zzz; known keys: confidence, reference_ceiling."),
        (put("5", 1), f"unknown key 5; known keys: {SECTIONS}."),
        (drop("optimize.trials"), "optimize.trials is missing; every key must be given."),
        (drop("select"), "select is missing; every key must be given."),
    ],
)
def test_a_wrong_key_is_one_line(file: Path, mistake: Mistake, line: str) -> None:
    assert error_lines_about(file, mistake) == [line]


def test_a_key_that_is_a_number_is_unknown(file: Path) -> None:
    file.write_text(TEXT + "5: 1\n", encoding="utf-8")
    assert error_lines(file) == [f"unknown key 5; known keys: {SECTIONS}."]


def test_several_mistakes_take_one_line_each(file: Path) -> None:
    lines = error_lines_about(
        file, put("optimize.trials", 0), put("optimize.trails", 1), drop("model.dtype"), put("select.trial", "x")
    )
    assert sorted(lines) == [
        "model.dtype is missing; every key must be given.",
        "optimize.trials must be at least 1, got 0.",
        "select.trial must be an integer, got 'x' (text).",
        "unknown key optimize.trails; did you mean optimize.trials?",
    ]


def test_a_very_long_value_is_cut(file: Path) -> None:
    (line,) = error_lines_about(file, put("model.dtype", "x" * 10_000))
    assert line.startswith("model.dtype must be 'auto', 'float32', 'bfloat16' or 'float16', got 'xxx")
    assert len(line) < 200


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", f"must be a mapping with {SECTIONS}, got an empty file."),
        (b"# nothing but a comment\n", f"must be a mapping with {SECTIONS}, got an empty file."),
        (b"- 1\n- 2\n", f"must be a mapping with {SECTIONS}, got the list [1, 2]."),
        (b"text", f"must be a mapping with {SECTIONS}, got 'text' (text)."),
        (b"a: [1\n", "is not valid YAML: line 2: expected ',' or ']', but got '<stream end>'."),
        (b"\tmodel: 1\n", "is not valid YAML: line 1: found character '\\t' that cannot start any token."),
        (b"a: *b\n", "is not valid YAML: line 1: found undefined alias 'b'."),
        (b"a: 2024-13-45\n", "is not valid YAML: month must be in 1..12."),
        (b"a: \x07\n", "is not valid YAML: unacceptable character #x0007: special characters are not allowed."),
        (b"a: caf\xe9\n", "is not UTF-8 (byte 6): save it as UTF-8."),
        ("a: ü".encode("utf-16"), "is not UTF-8 (byte 0): save it as UTF-8."),
    ],
)
def test_a_file_without_parameters_is_one_line(file: Path, content: bytes, reason: str) -> None:
    file.write_bytes(content)
    assert error_lines(file) == [f"{file} {reason}"]


def test_a_key_given_twice_names_its_line(file: Path) -> None:
    text, count = re.subn(r"^  sampler: .*\n", r"\g<0>\g<0>", TEXT, flags=re.MULTILINE)
    line = text[: text.rindex("  sampler:")].count("\n") + 1
    file.write_text(text, encoding="utf-8")
    assert count == 1
    assert error_lines(file)[0].startswith(f'{file} is not valid YAML: line {line}: found duplicate key "sampler"')


def test_a_section_given_twice_is_one_line(file: Path) -> None:
    file.write_text(TEXT + "model: {}\n", encoding="utf-8")
    (line,) = error_lines(file)
    assert 'found duplicate key "model"' in line


def test_tags_run_no_code(file: Path) -> None:
    file.write_text("a: !!python/object/apply:os.system ['exit 1']\n", encoding="utf-8")
    (line,) = error_lines(file)
    assert "is not valid YAML: line 1: could not determine a constructor for the tag" in line


def test_a_byte_order_mark_and_windows_newlines_pass(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert load_params(file) == load_params(REPOSITORY / "params.yaml")


def test_missing_file_error_names_the_folder_to_run_in(tmp_path: Path) -> None:
    missing = tmp_path / "params.yaml"
    assert error_lines(missing) == [f"{missing} is missing: run this in the project folder."]


def test_a_folder_instead_of_the_file_is_refused(tmp_path: Path) -> None:
    assert error_lines(tmp_path) == [f"{tmp_path} cannot be read (Is a directory)."]


def test_setting_a_value_with_dvc_changes_only_its_line(tmp_path: Path) -> None:
    """`dvc exp run -S` rewrites the file; ours is laid out so that no other line changes."""
    script = (
        "from dvc.utils.hydra import apply_overrides\n"
        "apply_overrides('params.yaml', ['directions.winsorize.quantile=0.99'])"
    )
    shutil.copy(ROOT / "params.yaml", tmp_path)
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    before = (ROOT / "params.yaml").read_text().splitlines()
    after = (tmp_path / "params.yaml").read_text().splitlines()
    changed = [line for line in before if line not in after]
    assert [line.split("#")[0].strip() for line in changed] == ["quantile: 0.995"]
    assert len(after) == len(before)
