"""The shared template environment."""

import pytest
from jinja2 import UndefinedError

from unwrite.report.rendering import template_environment
from unwrite.schema.evaluation import Share


@pytest.mark.parametrize(("package", "name"), [("unwrite.report", "report.html"), ("unwrite.release", "card.md")])
def test_templates_of_a_package_are_found(package: str, name: str) -> None:
    assert template_environment(package, autoescape=True).get_template(f"{name}.jinja").name == f"{name}.jinja"


def test_unknown_name_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        template_environment("unwrite.report", autoescape=True).from_string("{{ nothing }}").render()


def test_values_are_escaped_if_asked_and_passed_through_finalize() -> None:
    def render(**settings: object) -> str:
        environment = template_environment("unwrite.report", **settings)  # type: ignore[arg-type]
        return environment.from_string("{{ value }}").render(value="<b>")

    assert render(autoescape=True) == "&lt;b&gt;"
    assert render(autoescape=False) == "<b>"
    assert render(autoescape=False, finalize=lambda value: f"[{value}]") == "[<b>]"


def test_figures_are_filters() -> None:
    template = "{{ share | rate }}; {{ share | interval }}; {{ 0.5 | percent }}; {{ 0.0123 | nats }}"
    text = template_environment("unwrite.report", autoescape=True).from_string(template)
    share = Share(value=0.5, low=0.4, high=0.6, n=10)
    assert text.render(share=share) == "50.0 % (40.0–60.0, n = 10); 50.0 % (40.0–60.0); 50.0 %; 0.0123 nats"
