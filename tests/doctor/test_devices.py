"""Devices are described; what one cannot do stops the pipeline, what it does slowly is a note."""

import pytest

from unwrite.doctor.devices import examine_devices
from unwrite.models import compute_dtype


def test_the_processor_is_described() -> None:
    found = list(examine_devices("cpu"))
    assert all(finding.severity == "ok" for finding in found)
    assert "bfloat16" in found[0].fact
    assert "float16" in found[0].fact


def test_a_device_that_is_not_there_stops() -> None:
    (found,) = examine_devices("cuda:77")
    assert found.severity == "stop"
    assert "runtime.device" in found.fact


@pytest.mark.parametrize(("ratio", "severity"), [(9.0, "note"), (0.5, "ok")])
def test_a_slow_dtype_is_a_note(ratio: float, severity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_dtype, "slowdown", lambda _: ratio)
    assert list(examine_devices("cpu", "bfloat16"))[-1].severity == severity


def test_a_dtype_that_the_device_lacks_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compute_dtype, "slowdown", lambda _: 1.0)
    monkeypatch.setattr(compute_dtype, "why_unsupported", lambda *_: "no instructions")
    last = list(examine_devices("cpu", "float16"))[-1]
    assert (last.severity, last.remedy) == ("stop", "set model.dtype to auto.")
