"""Whether two spellings mean one person. Pure.

Letters of any script are converted to Latin in two ways: by sound ("Путин" is putin) and by shape
("Рutin" with a Cyrillic Р is putin too). Order, case, accents, titles and punctuation are ignored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from anyascii import anyascii

_LOOKS: Final = str.maketrans(
    "АВЕЅІЈКМНОРСТУХҮабԁеѕіјкмоԛрсԝухү" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαεικνορτυχ" + "01345$@",
    "ABESIJKMHOPCTYXYabdesijkmoqpcwyxy" + "ABEZHIKMNOPTYXaeikvoptux" + "oieassa",
)
_SPELT: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "æ": "ae"})
_TITLES: Final = frozenset(
    re.findall(
        r"\w+",
        "mr mrs ms miss sir dame lord lady dr prof president senator king queen prince princess"
        " pope saint st the jr sr ii iii iv",
    )
)
_JOINED: Final = 8  # letters from which on a name written together is looked for as such


@dataclass(frozen=True, slots=True)
class Name:
    """A name as it is compared: its words, those that tell people apart, and these together."""

    every: frozenset[str]
    words: frozenset[str]
    joined: str


@lru_cache(maxsize=4096)
def readings(text: str) -> frozenset[Name]:
    """The ways in which a text may be read as a name."""
    whole = unicodedata.normalize("NFKC", text[:400])
    whole = "".join(c for c in whole if unicodedata.category(c) != "Cf")  # invisible characters
    forms = {anyascii(whole), anyascii(whole.translate(_LOOKS)), anyascii(_spelt(whole))}
    return frozenset(name for form in forms if (name := _name(form)) is not None)


def means(text: str, protected: Iterable[Name]) -> bool:
    """Whether ``text`` names the person whose readings are given.

    Every word of a protected name must be there; a name of one word must be all there is.
    """
    return any(_is(found, name) for found in readings(text) for name in protected)


def _is(found: Name, name: Name) -> bool:
    if len(name.words) > 1 and name.words <= found.every:
        return True
    if found.words == name.words or found.joined == name.joined:
        return True
    return len(name.joined) >= _JOINED and name.joined in found.joined


def _spelt(text: str) -> str:
    return unicodedata.normalize("NFC", text).lower().translate(_SPELT)


def _name(text: str) -> Name | None:
    split = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)  # BarackObama, XiJinPing
    words = re.findall(r"[a-z0-9]+", split.lower().replace("'", ""))
    kept = [word for word in words if word not in _TITLES]
    kept = kept if len(kept) > 1 else words  # Prince William is not every William
    return Name(frozenset(words), frozenset(kept), "".join(kept)) if words else None
