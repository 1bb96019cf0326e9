"""What is said: varied sentences of our own, and which of them are held out.

English comes from a grammar, other languages from lists of whole sentences (`phrases/`). Whether
a sentence belongs to training or is held out depends on its words alone, so the two never meet.
"""

import re
from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np

PHRASES = Path(__file__).with_name("phrases")
HELD_OUT_SHARE = 0.1
HELD_OUT_LANGUAGES = ("pt", "sv")  # whole languages that training never hears
_KINDS = {
    "short": 1.5, "greeting": 1.0, "statement": 3.0, "explanation": 2.5, "question": 1.6,
    "exclamation": 1.4, "list": 0.9, "number": 0.8, "personal": 2.2, "instruction": 1.2,
    "news": 1.0,
}  # fmt: skip
_SLOT = re.compile(r"\{(\w+)\}")


def held_out(sentence: str) -> bool:
    """Whether a sentence is kept from training, whatever its case, stars and punctuation."""
    words = " ".join(re.findall(r"[^\W_]+", sentence.lower()))
    digest = blake2b(words.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < HELD_OUT_SHARE * 2**32


def sentence(
    language: str, rng: np.random.Generator, *, heldout: bool = False, kind: str = ""
) -> str:
    """A sentence of the training side, or of the held-out side, with *stars* for emphasis, in
    English perhaps of one ``kind``.

    Raises ValueError for a language without phrases.
    """
    for _ in range(1000):
        text = _english(rng, kind) if language == "en" else str(rng.choice(_lines(language)))
        if (held_out(text) or language in HELD_OUT_LANGUAGES) == heldout:
            return text
    raise ValueError(f"no {'held-out' if heldout else 'training'} sentence in {language!r}")


def languages() -> tuple[str, ...]:
    """The languages with phrases of their own."""
    return tuple(sorted(path.stem for path in PHRASES.glob("*.txt")))


def _english(rng: np.random.Generator, kind: str = "") -> str:
    weights = np.array(list(_KINDS.values()))
    kind = kind or str(rng.choice(list(_KINDS), p=weights / weights.sum()))
    return tidy(_expand(f"{{{kind}}}", rng))


def _expand(text: str, rng: np.random.Generator) -> str:
    while slot := _SLOT.search(text):
        choice = str(rng.choice(_grammar()[slot[1]]))
        text = text[: slot.start()] + choice + text[slot.end() :]
    return text


def tidy(text: str) -> str:
    """Mend what a grammar leaves: 'a apple', and small letters where a sentence starts."""
    text = re.sub(r"\b([Aa]) (?=[aeioAEIO]|u[mn])", r"\1n ", text)
    text = re.sub(r"(^|[.!?] )(\*?)([a-z])", lambda m: m[1] + m[2] + m[3].upper(), text)
    return text.replace("**", "")


@cache
def _grammar() -> dict[str, list[str]]:
    rules = {}
    for line in _read("en"):
        name, _, choices = line.partition(" = ")
        rules[name] = [choice.strip() for choice in choices.split("|")]
    return rules


@cache
def _lines(language: str) -> list[str]:
    return list(_read(language))


def _read(language: str) -> list[str]:
    path = PHRASES / f"{language}.txt"
    if not path.exists():
        raise ValueError(f"no phrases in {language!r}; there are {', '.join(languages())}")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]
