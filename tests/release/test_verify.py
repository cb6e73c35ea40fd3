"""An unchanged release passes, and the result states every check."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.support.releases import (
    UNEDITED,
    Release,
    failed,
    flip_bit,
    make_release,
    verified,
)
from unwrite.errors import UnwriteError
from unwrite.release.verdict import LIMITS, verification_text
from unwrite.release.verify import Verification, verify_release


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("threads", [1, 2])
def test_unchanged_release_passes(dtype: torch.dtype, threads: int, tmp_path: Path) -> None:
    release = make_release(tmp_path, dtype)
    found = verify_release(release.folder, release.base, threads=threads)
    assert failed(found) == {}
    assert (found.passed, found.complete, found.rounded_numbers) == (True, True, 0)
    assert found.tensors is not None
    assert (found.tensors.all, found.tensors.declared, found.tensors.exact) == (30, 4, 30)
    verdict = "VERIFIED: the release is the base plus the declared edit, to the bit, and nothing more."
    assert verification_text(found).splitlines()[-2:] == [verdict, LIMITS]


def test_checks_without_the_base_are_marked_not_checked(release: Release) -> None:
    found = verify_release(release.folder)
    assert (found.passed, found.complete, found.tensors) == (True, False, None)
    unchecked = {check.name for check in found.checks if check.outcome == "not checked"}
    assert unchecked == {
        "base",
        "headers",
        "unedited tensors",
        "edited tensors",
        "residual writers",
        "signature",
        "figures",
    }
    assert "not everything was checked: pass the base model with --base" in verification_text(found)


def test_verification_is_json_too(release: Release) -> None:
    flip_bit(release.folder, UNEDITED)
    values = json.loads(verified(release).model_dump_json())
    assert values["passed"] is False
    assert {check["name"]: check["outcome"] for check in values["checks"]}["unedited tensors"] == "failed"
    assert Verification.model_validate(values) == verified(release)


def test_folder_that_is_not_a_model_is_refused_as_base(release: Release, tmp_path: Path) -> None:
    with pytest.raises(UnwriteError, match="nowhere is not a folder"):
        verify_release(release.folder, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnwriteError, match="expected a safetensors checkpoint"):
        verify_release(release.folder, tmp_path / "empty")
