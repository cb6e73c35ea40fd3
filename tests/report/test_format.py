import pytest

from unwrite.report.format import nats, percent


@pytest.mark.parametrize(
    ("value", "text"), [(0.0123456, "0.0123 nats"), (0.0, "0 nats"), (1.5e-7, "1.5e-07 nats"), (12.3456, "12.3 nats")]
)
def test_divergences_have_three_digits(value: float, text: str) -> None:
    assert nats(value) == text


def test_shares_have_one_digit() -> None:
    assert [percent(share) for share in (0, 0.0149, 0.97, 1)] == ["0.0 %", "1.5 %", "97.0 %", "100.0 %"]
