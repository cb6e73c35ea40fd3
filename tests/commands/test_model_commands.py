from pathlib import Path

from click.testing import CliRunner

from tests.support.zoo import zoo_config
from unwrite.cli import main

ROOT = Path(__file__).parents[2]


def test_writers_of_the_demo_model_are_printed() -> None:
    result = CliRunner().invoke(main, ["writers", str(ROOT / "demo/model")])
    assert result.exit_code == 0
    rows = {tuple(line.split()[:3]) for line in result.stdout.splitlines()}
    assert ("0–5", "attention", "model.layers.*.self_attn.o_proj.weight") in rows
    assert ("0–5", "mlp", "model.layers.*.mlp.down_proj.weight") in rows
    assert "6 layers, 12 writers" in result.stdout


def test_writers_of_a_model_that_cannot_be_edited_exactly_are_an_error(tmp_path: Path) -> None:
    zoo_config("minimax").save_pretrained(tmp_path)
    result = CliRunner().invoke(main, ["writers", str(tmp_path)])
    assert result.exit_code == 1
    assert "mlp.experts.down_proj" in result.stdout
    assert "; incomplete." in result.stdout
    lines = result.stderr.splitlines()
    assert "part of this model cannot be edited exactly:" in lines[0]
    assert len(lines) == 2  # equal reasons of all layers share a line
    assert lines[1].startswith("layers 0–2: ")


def test_config_file_stands_for_its_folder(tmp_path: Path) -> None:
    zoo_config("llama").save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    result = CliRunner().invoke(main, ["writers", str(file)])
    assert result.exit_code == 0
    assert "LlamaForCausalLM: 3 layers, 6 writers" in result.stdout
    file.rename(tmp_path / "other.json")  # control: no other file does
    assert CliRunner().invoke(main, ["writers", str(tmp_path / "other.json")]).exit_code == 1


def test_writers_of_a_missing_folder_is_refused() -> None:
    result = CliRunner().invoke(main, ["writers", str(ROOT / "demo/none")])
    assert result.exit_code == 1
    assert "no such folder" in result.stderr
