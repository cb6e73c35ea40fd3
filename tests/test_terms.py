"""The command line offers every override, and each has a remedy."""

import click
import pytest

from unwrite.commands.releases import publish
from unwrite.release.problems import _REMEDIES
from unwrite.terms import OVERRIDES


def test_command_line_offers_every_override() -> None:
    (option,) = (option for option in publish.params if option.name == "allowed")
    assert isinstance(option.type, click.Choice)
    assert tuple(option.type.choices) == OVERRIDES


@pytest.mark.parametrize("kind", OVERRIDES)
def test_every_override_has_a_remedy(kind: str) -> None:
    assert kind in _REMEDIES
