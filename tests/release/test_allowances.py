"""The command line offers every allowance, and each says what would mend it instead."""

import click
import pytest

from unwrite.cli import publish
from unwrite.release.allowances import ALLOWANCES
from unwrite.release.publish import _REMEDIES


def test_the_command_line_offers_each() -> None:
    (option,) = (option for option in publish.params if option.name == "allowed")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == ALLOWANCES


@pytest.mark.parametrize("kind", ALLOWANCES)
def test_each_has_a_remedy(kind: str) -> None:
    assert kind in _REMEDIES
