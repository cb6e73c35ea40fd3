"""A model is a folder, a GGUF file or a hub id; which one it is is told by its name and by what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gguf_files import write_gguf
from tests.support.samples import sample_base
from unwrite.errors import UnwriteError
from unwrite.files.records import write_json
from unwrite.pipeline.found_model import find_model, find_tokenizer_folder, refuse_unusable_gguf
from unwrite.schema.artifacts import as_json
from unwrite.schema.paths import BASE


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_itself_whatever_its_name() -> None:
    for name in ("kettle", "kettle.gguf"):
        Path(name).mkdir()
        assert find_model(name, None) == (Path(name), None, None)
        refuse_unusable_gguf(name, None)


def test_a_gguf_file_is_a_folder_made_of_it() -> None:
    write_gguf(Path("kettle.gguf"))
    found = find_model("kettle.gguf", None)
    assert (found.folder / "model.safetensors").is_file()
    assert found.commit is None
    assert found.gguf is not None
    assert found.gguf.name == "kettle.gguf"


def test_a_missing_gguf_file_is_not_looked_for_on_the_hub() -> None:
    for check in (find_model, refuse_unusable_gguf):
        with pytest.raises(UnwriteError, match=r"models/kettle\.gguf is missing: expected a GGUF file"):
            check("models/kettle.gguf", None)


def test_a_gguf_file_has_no_revision() -> None:
    for check in (find_model, refuse_unusable_gguf):
        with pytest.raises(UnwriteError, match=r"model\.revision is 'v1', but kettle\.gguf is a local file\."):
            check("kettle.gguf", "v1")


def test_other_names_are_hub_ids_and_none_of_the_headers_business() -> None:
    refuse_unusable_gguf("teaware/kettle", "v1")
    with pytest.raises(UnwriteError, match="teaware/kettle at v1 is not in the hub's cache"):
        find_model("teaware/kettle", "v1")


def test_a_file_is_refused_by_its_header_before_anything_is_written() -> None:
    refuse_unusable_gguf(str(write_gguf(Path("kettle.gguf"))), None)
    with pytest.raises(UnwriteError, match="whose architecture is rwkv6"):
        refuse_unusable_gguf(str(write_gguf(Path("other.gguf"), architecture="rwkv6")), None)
    assert not Path(".unwrite").exists()


def test_a_tokenizer_is_the_pinned_models_or_the_sources() -> None:
    Path("kettle").mkdir()
    assert find_tokenizer_folder("kettle", None) == Path("kettle")
    Path("pot").mkdir()
    write_json(BASE, as_json(sample_base(source="pot", commit=None, files=[])))
    assert find_tokenizer_folder("pot", None) == Path("pot")
    assert find_tokenizer_folder("kettle", None) == Path("kettle")  # params.yaml names another model now
    with pytest.raises(UnwriteError, match=r"kettle\.gguf must be dequantized .* run `dvc repro pin_model`"):
        find_tokenizer_folder("kettle.gguf", None)
