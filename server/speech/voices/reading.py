"""What is read aloud of a written text: no marks of layout, no emoji, addresses as people say them.

Pure. Numbers, dates, currencies and abbreviations belong to each voice, which knows its language.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from server.errors import TextRefused

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_MARKS = re.compile(
    r"(?m)^\s{0,3}(?:#{1,6}|[-*+>]|\d+[.)](?=\s))\s+|`+|(?<=\S)\*+|\*+(?=\S)|(?<!\w)_+|_+(?!\w)|~~"
)
_ADDRESS = re.compile(
    r"(?i)\b(?:https?://|www\.)[^\s<>\"]+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b[\w-]+\.(?:com|org|net|io|dev|ai)\b(?:/[^\s<>\"]*)?"
)
_SPOKEN: Final = {".": " dot ", "@": " at ", "/": " slash ", "-": " dash ", "_": " underscore "}


def check(text: str) -> None:
    """Raises ``TextRefused`` for a text that no voice can speak."""
    if not any(letter.isalnum() for letter in plain(text)):
        raise TextRefused("There is nothing to say: the text has no letter and no digit.")


def plain(text: str) -> str:
    """The text without marks of layout, emoji and control characters."""
    text = _MARKS.sub("", _LINK.sub(r"\1", unicodedata.normalize("NFC", text)))
    return "".join(letter if _is_read(letter) else " " for letter in text).strip()


def addresses_spelled(text: str) -> str:
    """Addresses of pages and mail as English speakers say them: ``example dot com slash shop``."""
    return _ADDRESS.sub(lambda match: _spelled(match[0]), text)


def _spelled(address: str) -> str:
    bare = address.rstrip(".,;:!?)'")
    rest = address[len(bare) :]
    bare = re.sub(r"(?i)^https?://(www\.)?|^www\.|[?#].*$", "", bare).strip("/")
    return "".join(_SPOKEN.get(letter, letter) for letter in bare) + rest


def _is_read(letter: str) -> bool:
    kind = unicodedata.category(letter)
    return letter == "\n" or kind[0] in "LMNP" or kind in ("Zs", "Sc", "Sm") or letter in "°^"


def latin_share(text: str) -> float:
    """How much of a text's letters are Latin, 0 to 1; 1 where it has none."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum("LATIN" in unicodedata.name(letter, "") for letter in letters)
    return latin / len(letters) if letters else 1.0
