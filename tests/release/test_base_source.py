"""A manifest names its base so that others can find it, and nothing of the machine it was on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.samples import sample_base
from unwrite.errors import UnwriteError
from unwrite.files.hashing import sha256_of
from unwrite.release.base_source import base_text, refuse_other_gguf, stated_base
from unwrite.schema.artifacts import GgufOrigin

COMMIT, SUM = "0123456789abcdef0123456789abcdef01234567", "ab" * 32
ORIGIN = GgufOrigin(name="kettle.gguf", size=8, sha256=SUM, transformers="5.18.0")


def test_a_hub_id_is_stated_with_its_commit_and_of_a_path_only_the_name() -> None:
    hub = stated_base(sample_base(source="teaware/kettle", commit=COMMIT))
    assert hub == {"source": "teaware/kettle", "commit": COMMIT}
    assert base_text(hub) == "teaware/kettle at 0123456789ab"
    folder = stated_base(sample_base(source="/home/potter/kettle", commit=None))
    assert folder == {"source": "kettle", "commit": None}
    assert base_text(folder) == "kettle, a local folder"


def test_a_gguf_file_is_stated_with_its_sum_and_what_dequantized_it() -> None:
    stated = stated_base(sample_base(source="../potter/kettle.gguf", commit=None, gguf=ORIGIN))
    assert stated == {"source": "kettle.gguf", "commit": None, "gguf_sha256": SUM, "transformers": "5.18.0"}
    assert base_text(stated) == "kettle.gguf, a GGUF file (sha256 abababababab…) dequantized by transformers 5.18.0"


def test_another_gguf_file_than_the_stated_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kettle.gguf"
    file.write_bytes(b"GGUF")
    refuse_other_gguf(file, {"source": "kettle.gguf", "commit": None, "gguf_sha256": sha256_of(file)})
    refuse_other_gguf(file, {"source": "kettle", "commit": None})  # the files themselves are compared
    with pytest.raises(
        UnwriteError, match=r"kettle\.gguf has sha256 .*, but the release was made from a GGUF file with"
    ):
        refuse_other_gguf(file, {"source": "kettle.gguf", "commit": None, "gguf_sha256": SUM})
