"""Text to the tokens of Kokoro, each with the sound, stress and word that it stands for.

Words are read by `hibari`, whose reading keeps track of them; words between *stars* are emphasised.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from pipeline import onnx_runtime
from training.voices.spoken import is_vowel, starred

Kind = Literal["phone", "lead", "tail", "gap", "pause"]
LONGEST: Final = 500  # tokens of one sentence
_SOUNDS: Final = {
    "A": "eɪ", "I": "aɪ", "O": "oʊ", "Q": "əʊ", "W": "aʊ", "Y": "ɔɪ", "T": "ɾ", "ᵊ": "ə",
    "ʤ": "dʒ", "ʧ": "tʃ",
}  # fmt: skip
_STRESS: Final = {"ˈ": 1, "ˌ": 2}
_PAUSES: Final = frozenset(";:,.!?—…")
_PAD: Final = 0


@dataclass(frozen=True, slots=True)
class Token:
    """One token: a phone, a mark before or after one, a gap between words, or a pause."""

    id: int
    kind: Kind
    ipa: str = ""
    stress: int = 0
    word: int = -1
    emphasis: bool = False


def tokens_of(text: str, *, british: bool = False) -> list[Token]:
    """The tokens of one sentence between their pads; words are counted by white space.

    Raises ValueError for a sentence that nothing can be read of, or too long a one.
    """
    leaned = starred(text)
    tokens = [Token(_PAD, "pause")]
    for word, sounds in _words(text.replace("*", ""), british):
        tokens += _of_word(sounds, word, word in leaned)
    tokens.append(Token(_PAD, "pause"))
    if not any(token.kind == "phone" for token in tokens):
        raise ValueError(f"nothing to speak in {text!r}")
    if len(tokens) > LONGEST:
        raise ValueError(f"a sentence of {len(tokens)} tokens is too long, the limit is {LONGEST}")
    return tokens


def _words(text: str, british: bool) -> list[tuple[int, str]]:
    """Pieces of sound in order, a blank after those that end a word, and which word they are in."""
    reader = _reader(british)
    out, word = [], 0
    for piece in reader.phonemize_tokens(reader.tokenize(re.sub(r"\s+", " ", text.strip()))):
        blank = bool(piece.whitespace)
        out.append((word, (piece.phonemes or "") + " " * blank))
        word += blank + piece.text.count(" ")
    return out


def _of_word(sounds: str, word: int, leaned: bool) -> list[Token]:
    numbers, tokens, stress = _numbers(), list[Token](), 0
    for symbol in sounds:
        if symbol not in numbers:
            continue
        token = Token(numbers[symbol], "phone", _SOUNDS.get(symbol, symbol), 0, word, leaned)
        if symbol in _STRESS:
            stress, token = _STRESS[symbol], replace(token, kind="lead", ipa="")
        elif symbol in _PAUSES:
            token = Token(token.id, "pause")
        elif symbol == "ː" or not symbol.isalpha():
            token = Token(token.id, "tail" if symbol == "ː" else "gap")
        elif is_vowel(token.ipa):
            token, stress = replace(token, stress=stress), 0
        tokens.append(token)
    return tokens


@cache
def _reader(british: bool) -> Any:
    onnx_runtime.load()  # first, so that nothing else imports it
    from hibari.g2p import G2P

    return G2P(british=british)


@cache
def _numbers() -> dict[str, int]:
    numbers: dict[str, int] = json.loads(files("hibari").joinpath("assets/vocab.json").read_text())
    return numbers
