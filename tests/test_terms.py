"""The command line offers every allowance, and each says what would mend it instead."""

import click
import pytest

from unwrite.cli import publish
from unwrite.release.publish import _REMEDIES
from unwrite.terms import OVERRIDES


def test_the_command_line_offers_each() -> None:
    (option,) = (option for option in publish.params if option.name == "allowed")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == OVERRIDES


@pytest.mark.parametrize("kind", OVERRIDES)
def test_each_has_a_remedy(kind: str) -> None:
    assert kind in _REMEDIES
