"""Text cut into sentences, so that the first is heard while the next is made. Pure.

What is said of a full stop is English usage, and harmless elsewhere: two sentences that stay one
are spoken a little later.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

LONGEST: Final = 300  # characters of a sentence; longer ones are cut at a clause, then at a word
_END = re.compile(r"([.!?…]+[\"”’')\]]*)\s+(?=\S)|([。！？]+[”」』]*)|\s*\n\s*")
_CLAUSE = re.compile(r"[,;:—–、，；][\"”’')\]]*\s*")
_ABBREVIATIONS: Final = (
    "mr mrs ms dr prof st mt ft gen gov sen rep capt lt col sgt rev hon no nos vs fig vol pp cf"
    " approx e.g i.e jan feb mar apr jun jul aug sep sept oct nov dec"
)
_NO_END: Final = frozenset(_ABBREVIATIONS.split())


def sentences(text: str) -> list[str]:
    """The sentences of a text, none of them empty."""
    found: list[str] = []
    begin = 0
    for match in _END.finditer(text):
        if match.end() < len(text) and _ends(text, match, begin):
            found += _pieces(text[begin : match.end()])
            begin = match.end()
    return [*found, *_pieces(text[begin:])]


def _ends(text: str, match: re.Match[str], begin: int) -> bool:
    """Whether a sentence ends: not after ``Dr.``, an initial, ``U.S.``, nor before small type."""
    stop = match[1]
    if stop is None:
        return True
    if text[match.end()].islower():
        return False
    if stop.rstrip("\"”’')]") != ".":
        return True
    word = text[begin : match.start()].split()[-1:]
    bare = "".join(word).lstrip("\"“‘'([").lower()
    return not (bare in _NO_END or re.fullmatch(r"(?:[^\W\d_]\.)*[^\W\d_]", bare))


def _pieces(sentence: str) -> Iterator[str]:
    sentence = sentence.strip()
    while len(sentence) > LONGEST:
        cut = _cut(sentence[:LONGEST])
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    if sentence:
        yield sentence


def _cut(head: str) -> int:
    """Where to cut: after the last clause of the later half, else at the last space, else here."""
    clauses = [match.end() for match in _CLAUSE.finditer(head) if match.end() > len(head) // 2]
    return clauses[-1] if clauses else head.rfind(" ") + 1 or len(head)
