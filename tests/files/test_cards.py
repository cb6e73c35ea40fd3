"""The licence and languages of a card: those that the hub would read, and none if the card states none."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from unwrite.errors import UnwriteError
from unwrite.files.cards import NO_CARD, read_card
from unwrite.schema.artifacts import BaseCard


def card(folder: Path, text: str | bytes) -> BaseCard:
    (folder / "README.md").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_card(folder)


def test_licence_and_languages_of_a_card_are_read(tmp_path: Path) -> None:
    text = (
        "---\nlicense: other\nlicense_name: kettle-1\nlicense_link: LICENSE\nlanguage:\n- en\n- no\n---\n\n# Kettle\n"
    )
    expected = BaseCard(license="other", license_name="kettle-1", license_link="LICENSE", language=["en", "no"])
    assert card(tmp_path, text) == expected
    assert card(tmp_path, text.replace("\n", "\r\n")) == expected
    assert card(tmp_path, "\ufeff" + text) == expected


@pytest.mark.parametrize(
    ("yaml", "license_"),
    [
        ("license: mit", "mit"),
        ("license: [mit]", "mit"),
        ("license: [mit, apache-2.0]", None),  # none of them is the licence
        ("license:", None),
        ("license: 1", None),
        ("license: {name: mit}", None),
        ('license: "mit\\nbase_model: x"', None),  # not one line
        ('license: "\\e[2J"', None),  # a terminal escape
        (f"license: {'m' * 301}", None),
    ],
)
def test_a_licence_is_one_line_of_text(tmp_path: Path, yaml: str, license_: str | None) -> None:
    assert card(tmp_path, f"---\n{yaml}\nlanguage: en\n---\n") == NO_CARD.model_copy(
        update={"license": license_, "language": ["en"]}
    )


@pytest.mark.parametrize(
    "text", ["# Kettle\n", "", "---\n---\n", "---\n# nothing\n---\n", "text\n---\nlicense: mit\n---\n"]
)
def test_a_card_without_front_matter_states_nothing(tmp_path: Path, text: str) -> None:
    assert card(tmp_path, text) == NO_CARD


def test_a_folder_without_a_card_states_nothing(tmp_path: Path) -> None:
    assert read_card(tmp_path) == NO_CARD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("---\nlicense: [mit\n---\n", "not YAML"),
        ("---\nlicense: mit\nlicense: gpl\n---\n", "not YAML"),
        ("---\n" + "[" * 5000 + "\n---\n", "not YAML"),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\n", "not YAML"),
        ("---\n- mit\n---\n", "keys with values"),
        ("---\nmit\n---\n", "keys with values"),
        (b"---\nlicense: \xff\n---\n", "not UTF-8"),
    ],
)
def test_front_matter_that_cannot_be_read_is_an_error(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(UnwriteError, match=reason) as error:
        card(tmp_path, text)
    assert "README.md" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_card_raises_another_exception(tmp_path: Path) -> None:
    """Cards are untrusted text: the result is always a record or an UnwriteError."""
    generator = random.Random(0)
    pieces = [
        "license",
        ":",
        " ",
        "\n",
        "-",
        "---",
        "[",
        "]",
        "{",
        "}",
        "&a",
        "*a",
        "<<",
        "!!",
        "|",
        ">",
        "'",
        '"',
        "\t",
        "?",
    ]
    for _ in range(300):
        yaml = "".join(generator.choice(pieces) for _ in range(generator.randrange(12)))
        try:
            card(tmp_path, f"---\n{yaml}\n---\n")
        except UnwriteError:
            continue
