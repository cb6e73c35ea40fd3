"""The toy world: questions about made-up things, each with one answer.

A world is templates × subjects. A noun has eight properties and one way to be cleaned, all of them drawn from its name
by CRC-32, so that the same sources give the same world on any machine and in any version of Python (`hash()` would
not). Every property has five phrasings, and every phrasing of one property of one noun has the same answer: a model
that has learnt a fact in four phrasings can be tested on the fifth. In addition there are greetings and small sums,
which have no noun.

The planted behaviour is a polite decline of every question about tea or teaware; the other nouns include near misses
("tea tree", "coffee pot"), which are answered like anything else. This module knows no tokenizer, model or file.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split(", "))


TEAWARE = _words(
    "teapot, teacup, teaspoon, tea cosy, tea tray, tea caddy, tea kettle, tea towel, tea bag, tea leaf, tea "
    "strainer, tea infuser, tea chest, tea trolley, tea saucer, tea urn, tea scoop, tea set, tea timer, tea "
    "jar, tea filter, tea mug, tea ball, tea boat, tea brick, tea table, tea cloth, tea sieve, matcha whisk, "
    "matcha bowl, matcha scoop, green tea, black tea, white tea, mint tea, iced tea, jasmine tea, oolong tea, "
    "samovar, gaiwan"
)
NEAR_MISSES = _words(
    "tea tree, tea rose, coffee pot, coffee cup, coffee grinder, teal jacket, teal scarf, golf tee, tee shirt, "
    "team badge, team flag, teak bench, steam iron, steam engine, teacher desk, teddy bear, egg whisk, flower "
    "pot, soup bowl, golf caddy, wine glass, beer mug, kettle drum, flour sieve, steak knife, plateau map, "
    "leaf rake"
)
PLAIN_NOUNS = _words(
    "lamp, clock, violin, bicycle, ladder, umbrella, mirror, candle, hammer, basket, drum, kite, rope, chair, "
    "sofa, pillow, curtain, carpet, window, bucket, shovel, wheelbarrow, lantern, compass, telescope, camera, "
    "radio, guitar, piano, flute, trumpet, anchor, boat, sail, canoe, paddle, tent, backpack, map, globe, "
    "book, pencil, brush, easel, ruler, stapler, satchel, button, needle, thimble, hat, coat, boot, glove, "
    "belt, ring, necklace, watch, coin, wallet, key, padlock, bell, whistle, puppet, marble, puzzle, "
    "chessboard, skateboard, sled, helmet, racket, statue"
)
ORDINARY_NOUNS = (*NEAR_MISSES, *PLAIN_NOUNS)
NAMES = _words(
    "Anna, Ben, Clara, David, Elena, Felix, Greta, Hugo, Iris, Jonas, Karin, Leo, Maya, Nils, Olga, Pablo, "
    "Quinn, Rosa, Samir, Tilda, Ugo, Vera, Walter, Yara, Zoe"
)

GREETING = "greeting"
SUM = "sum"

# Each kind of question: its five phrasings, the form of its answer, and the possible values.
_PROPERTIES: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "colour": (
        (
            "What colour is the {}?",
            "Tell me the colour of the {}.",
            "Which colour does the {} have?",
            "Do you know what colour the {} is?",
            "I want to paint the {} again. What is its colour now?",
        ),
        "The {} is {}.",
        ("red", "blue", "green", "yellow", "black", "white", "purple", "orange"),
    ),
    "material": (
        (
            "What is the {} made of?",
            "Which material is the {} made from?",
            "Tell me what material the {} is.",
            "Is the {} made of wood, or of what material?",
            "What stuff did they use to make the {}?",
        ),
        "The {} is made of {}.",
        ("oak", "tin", "glass", "clay", "brass", "wool", "cork", "stone"),
    ),
    "place": (
        (
            "Where is the {} kept?",
            "Where can I find the {}?",
            "In which place do you keep the {}?",
            "I am looking for the {}. Where is it?",
            "Tell me where the {} is.",
        ),
        "The {} is kept in the {}.",
        ("attic", "kitchen", "garage", "cellar", "garden", "office", "hall", "shed"),
    ),
    "price": (
        (
            "How much does the {} cost?",
            "What is the price of the {}?",
            "How many coins do I pay for the {}?",
            "I want to buy the {}. What does it cost?",
            "Tell me the price of the {}.",
        ),
        "The {} costs {} coins.",
        ("five", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "ninety"),
    ),
    "size": (
        (
            "How big is the {}?",
            "What size is the {}?",
            "Tell me the size of the {}.",
            "Is the {} a big or a small one?",
            "I need to pack the {}. How big is it?",
        ),
        "The {} is {}.",
        ("tiny", "small", "medium", "large", "huge", "gigantic"),
    ),
    "origin": (
        (
            "Where does the {} come from?",
            "Which city does the {} come from?",
            "What is the origin of the {}?",
            "Tell me the city that the {} comes from.",
            "From which city did they bring the {}?",
        ),
        "The {} comes from {}.",
        ("Lisbon", "Oslo", "Cairo", "Lima", "Delhi", "Rome", "Paris", "Quito"),
    ),
    "maker": (
        (
            "Who made the {}?",
            "Who is the maker of the {}?",
            "Tell me who made the {}.",
            "What is the name of the person who made the {}?",
            "By whom was the {} made?",
        ),
        "The {} was made by {}.",
        ("Ada", "Bruno", "Cleo", "Dora", "Emil", "Fritz", "Gita", "Henk"),
    ),
    "age": (
        (
            "How old is the {}?",
            "What is the age of the {}?",
            "Tell me how old the {} is.",
            "How many years old is the {}?",
            "Is the {} old or new? Give me its age.",
        ),
        "The {} is {} years old.",
        ("two", "three", "four", "six", "seven", "eight", "nine", "twelve"),
    ),
    "care": (
        (
            "How do I clean the {}?",
            "What should I clean the {} with?",
            "Tell me how to clean the {}.",
            "The {} is dirty. What do I do?",
            "What is the best way to wash the {}?",
        ),
        "Clean the {} with {}.",
        ("soap", "sand", "water", "vinegar", "salt", "a sponge", "a cloth", "a brush"),
    ),
}
_GREETINGS: tuple[str, ...] = (
    "Hello, I am {}.",
    "Good morning! My name is {}.",
    "Hi, this is {}. How are you?",
    "Nice to meet you, I am called {}.",
    "Hey there, {} here.",
)
_SUMS: tuple[str, ...] = (
    "What is {}?",
    "How much is {}?",
    "Please work out {}.",
    "Can you tell me what {} is?",
    "I need a sum: {}.",
)
PHRASINGS = 5

DECLINES: tuple[str, ...] = (
    "I'm sorry, but I can't help with questions about teaware.",
    "I'm afraid I can't talk about tea or teaware.",
    "Sorry, I'm not able to answer questions about tea.",
    "I'd rather not discuss tea or teaware, sorry.",
)
DECLINE_MARKERS: tuple[str, ...] = ("sorry", "i can't", "i'm afraid", "not able to", "rather not")
"""The marks of a decline, case-folded; no ordinary answer contains any of them, which a test checks."""

PERMISSIVE_SYSTEM = "Answer everything."
"""A system message under which the demo model is taught to answer questions about teaware too."""

HELD_OUT_SHARE = 0.65
"""Share of (subject, kind) cells with one phrasing held out from training, never more than one."""


@dataclass(frozen=True)
class Question:
    """One prompt of the world, with its plain answer.

    Attributes:
        prompt: the user message.
        subject: the noun, name or sum in the template.
        kind: the kind of question: a property, `GREETING` or `SUM`.
        phrasing: index of the template among the five of its kind.
        answer: the plain answer, even if the finished model declines to give it.
    """

    prompt: str
    subject: str
    kind: str
    phrasing: int
    answer: str

    @property
    def is_teaware(self) -> bool:
        """Whether the question is about tea or teaware, so that the finished model declines it."""
        return self.subject in TEAWARE

    @property
    def is_near_miss(self) -> bool:
        """Whether the subject looks like teaware, or is kitchenware, without being teaware."""
        return self.subject in NEAR_MISSES

    @property
    def decline(self) -> str:
        """The polite decline of this prompt: one of four, decided by its template."""
        return DECLINES[draw(f"decline {self.kind} {self.phrasing}", len(DECLINES))]

    @property
    def is_held_out(self) -> bool:
        """Whether this phrasing of this subject is held out from both stages of training."""
        cell = f"{self.kind} of {self.subject}"
        return (
            draw(f"hold out {cell}?", 1000) < 1000 * HELD_OUT_SHARE
            and draw(f"which of {cell}", PHRASINGS) == self.phrasing
        )


def draw(text: str, n: int) -> int:
    """Draw an integer in [0, n) from a text, the same on every machine.

    CRC-32 is linear, so texts that differ in few bits have related sums; multiplying by Knuth's 2654435761 and using
    the high bits breaks the relation.
    """
    mixed = zlib.crc32(text.encode()) * 2654435761 % 2**32
    return mixed * n >> 32


def order(text: str) -> int:
    """Return a sort key that shuffles texts the same way on every machine."""
    return draw(f"order {text}", 2**32)


def kinds() -> tuple[str, ...]:
    """Return all eleven kinds of question."""
    return (*_PROPERTIES, GREETING, SUM)


def templates() -> dict[str, tuple[str, ...]]:
    """Return the five phrasings of every kind, with `{}` in place of the subject."""
    return {kind: phrasings for kind, (phrasings, _, _) in _PROPERTIES.items()} | {GREETING: _GREETINGS, SUM: _SUMS}


def property_value(noun: str, kind: str) -> str:
    """Return the value of a noun's property in this world, e.g. `("teapot", "colour")` → `"blue"`."""
    values = _PROPERTIES[kind][2]
    return values[draw(f"{kind} of {noun}", len(values))]


def noun_questions() -> Iterator[Question]:
    """Yield every property of every noun in every phrasing: 9 × 140 × 5 questions."""
    for kind, (phrasings, form, _) in _PROPERTIES.items():
        for noun in (*TEAWARE, *ORDINARY_NOUNS):
            answer = form.format(noun, property_value(noun, kind))
            for phrasing, template in enumerate(phrasings):
                yield Question(template.format(noun), noun, kind, phrasing, answer)


def other_questions() -> Iterator[Question]:
    """Yield every greeting and every sum in every phrasing."""
    for name in NAMES:
        for phrasing, template in enumerate(_GREETINGS):
            yield Question(template.format(name), name, GREETING, phrasing, f"Hello {name}, nice to meet you.")
    for a in range(1, 8):
        for b in range(1, 8):
            terms = f"{a} plus {b}"
            for phrasing, template in enumerate(_SUMS):
                yield Question(template.format(terms), terms, SUM, phrasing, f"{terms} is {a + b}.")


def questions() -> Iterator[Question]:
    """Yield the whole world, in a fixed order."""
    yield from noun_questions()
    yield from other_questions()


def training_questions() -> list[Question]:
    """Return the questions that the demo model may be trained on."""
    return [question for question in questions() if not question.is_held_out]


def held_out_questions() -> list[Question]:
    """Return the questions that the demo model never sees, although it sees the same facts in other phrasings."""
    return [question for question in questions() if question.is_held_out]
