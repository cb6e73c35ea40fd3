"""The docs name every parameter, every field of every record and every command, and nothing that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import NoneType
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel

import unwrite
from unwrite.schema.artifacts import Artifact
from unwrite.schema.params import Params, PromptSource, Section, Tokenize

ROOT = Path(__file__).parents[1]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PROMPTS = Tokenize.model_fields["target"].annotation
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "examples").glob("*/README.md"))


def records() -> dict[str, type[BaseModel]]:
    """Every pydantic model of the package but the sections of params.yaml, by name."""
    for module in walk_packages(unwrite.__path__, "unwrite."):
        import_module(module.name)

    def below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
        for child in model.__subclasses__():
            yield child
            yield from below(child)

    ours = (model for model in below(BaseModel) if model.__module__.startswith("unwrite."))
    return {
        model.__name__: model
        for model in ours
        if model.model_fields and not issubclass(model, Section) and model is not Artifact
    }


def fields_in_docs() -> dict[str, list[str]]:
    """First cells of the table under each heading of formats.md."""
    sections = re.split(r"^### (\w+)$", DOCS["formats.md"], flags=re.MULTILINE)[1:]
    return {
        name: re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
        for name, text in zip(sections[::2], sections[1::2], strict=True)
    }


def parameter_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of params.yaml, dotted."""
    for name, field in section.model_fields.items():
        if field.annotation == PROMPTS:  # a path, or a mapping whose keys are listed once
            yield f"{prefix}{name}"
            if f"{prefix}{name}" == "tokenize.target":
                yield from parameter_keys(PromptSource, f"{prefix}{name}.")
            continue
        kinds = [one for one in get_args(field.annotation) if one is not NoneType]
        inner = kinds[-1] if kinds else field.annotation  # of a section that may be null, or of sections by name
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            by_name = get_origin(field.annotation) is dict
            yield from parameter_keys(inner, f"{prefix}{name}.NAME." if by_name else f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


@pytest.mark.parametrize(("name", "model"), sorted(records().items()))
def test_formats_lists_the_fields_of_every_record(name: str, model: type[BaseModel]) -> None:
    assert fields_in_docs().get(name) == list(model.model_fields)


def test_formats_names_no_record_that_does_not_exist() -> None:
    documented = {name for name in fields_in_docs() if name[0].isupper()}  # files that are no record are in lower case
    assert documented == set(records())


def test_parameters_lists_every_key_once_in_order() -> None:
    listed = re.findall(r"^\| `([\w.]+)` \|", DOCS["parameters.md"], flags=re.MULTILINE)
    assert listed == list(parameter_keys(Params))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 1000
