"""Words for styles: many English ways to ask for each way of speaking.

Training draws a fresh paraphrase every time, so that the prompt encoder learns the meaning and not
the spelling. The default style is mostly asked for by saying nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

DEFAULT: Final = "default"


class Named(Protocol):
    """Anything with a style's name."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Words:
    """Adjectives, adverbs, roles and whole requests for one style."""

    adjectives: tuple[str, ...]
    adverbs: tuple[str, ...]
    roles: tuple[str, ...]
    requests: tuple[str, ...]


def _words(adjectives: str, adverbs: str, roles: str, requests: str) -> Words:
    lists = (adjectives, adverbs, roles, requests)
    return Words(*(tuple(x.strip() for x in text.split(",") if x.strip()) for text in lists))


WORDS: Final[Mapping[str, Words]] = {
    "default": _words(
        "neutral, natural, normal, ordinary, balanced",
        "naturally, normally, plainly, in your usual way",
        "an ordinary speaker, a person in conversation, a news reader on a normal day",
        "just talk, be yourself, speak as you usually do, nothing special",
    ),
    "calm": _words(
        "calm, relaxed, quiet, serene, composed, soothing, gentle, laid-back, peaceful",
        "calmly, gently, softly, quietly, slowly and calmly, in a relaxed way",
        "a calm narrator, a meditation teacher, a gentle storyteller, a soothing voice",
        "take it easy, stay relaxed, keep it calm, move little, no hurry, small slow movements",
    ),
    "friendly": _words(
        "friendly, warm, kind, welcoming, approachable, pleasant, likeable, open, sympathetic",
        "warmly, kindly, with a smile, in a friendly way, like talking to a friend",
        "a friendly host, a kind receptionist, a warm teacher, a good neighbour, a helpful guide",
        "smile, be nice, make people feel welcome, smile at the viewer, be warm with them",
    ),
    "energetic": _words(
        "energetic, lively, dynamic, vigorous, animated, powerful, full of energy, high-energy",
        "energetically, with a lot of energy, with vigour, dynamically, with drive, forcefully",
        "an energetic presenter, a lively coach, a fitness trainer, a motivational speaker",
        "bring energy, give it everything, lots of energy please, show some drive, move a lot",
    ),
    "formal": _words(
        "formal, official, professional, polished, restrained, business-like, proper, correct",
        "formally, professionally, with restraint, in an official tone, like in a board meeting",
        "a formal presenter, a news anchor, a diplomat, a government spokesperson, a bank director",
        "stay professional, keep it formal, stand straight, be proper, business style",
    ),
    "serious": _words(
        "serious, grave, stern, earnest, sober, solemn, strict, concerned",
        "seriously, gravely, earnestly, sternly, without smiling, with concern",
        "a serious expert, a strict teacher, a judge, a doctor with bad news, a stern official",
        "do not smile, this is serious, be earnest, no smiling, look concerned",
    ),
    "cheerful": _words(
        "cheerful, happy, joyful, merry, bright, sunny, upbeat, jolly, good-humoured",
        "cheerfully, happily, with joy, brightly, with a big smile, in good spirits",
        "a cheerful morning host, a happy entertainer, a joyful friend, an upbeat shop assistant",
        "smile a lot, be happy, spread some joy, big smile, cheer them up, good mood",
    ),
    "shy": _words(
        "shy, timid, bashful, insecure, reserved, hesitant, withdrawn, modest",
        "shyly, timidly, hesitantly, avoiding eye contact, with little eye contact",
        "a shy student, a timid newcomer, a bashful person, an insecure speaker",
        "look away often, be a little shy, avoid the viewer's eyes, make yourself small",
    ),
    "hands_still": _words(
        "hands still, still hands, no gestures, without gestures, hands at rest, motionless hands",
        "without moving your hands, without gestures, with still hands, with quiet arms",
        "a speaker who never gestures, a presenter with still hands, someone with resting arms",
        "keep your hands still, no gestures, do not move your hands, hands down, arms at rest, "
        "keep the arms quiet, do not gesture, leave your hands where they are",
    ),
    "expressive": _words(
        "expressive, gesturing, theatrical, demonstrative, vivid, expansive, with big gestures",
        "with your hands, with big gestures, expressively, with many gestures, vividly",
        "an expressive storyteller, an actor, a speaker who talks with the hands, a conductor",
        "use your hands, gesture a lot, talk with your hands, lots of gestures, big movements, "
        "expressive hands",
    ),
    "thoughtful": _words(
        "thoughtful, pensive, reflective, contemplative, considered, philosophical",
        "thoughtfully, reflectively, as if thinking aloud, searching for words, pensively",
        "a philosopher, a thoughtful professor, someone thinking aloud, a reflective writer",
        "think while you speak, look away to think, ponder, take your time to think",
    ),
    "confident": _words(
        "confident, self-assured, sure, assertive, commanding, convincing, bold, poised",
        "confidently, with authority, with conviction, assertively, with your head up",
        "a confident leader, a chief executive on stage, a self-assured expert, a sales director",
        "look them in the eye, show confidence, be sure of yourself, chin up, own the room",
    ),
    "excited": _words(
        "excited, thrilled, enthusiastic, ecstatic, wildly enthusiastic, passionate, fired up",
        "excitedly, enthusiastically, with passion, with great enthusiasm, breathlessly",
        "an excited fan, a thrilled winner, an enthusiastic inventor, a passionate speaker",
        "you just won, be thrilled, show your excitement, go wild, great enthusiasm",
    ),
    "tired": _words(
        "tired, sleepy, weary, exhausted, drowsy, worn out, listless, bored",
        "wearily, sleepily, without energy, listlessly, with heavy eyes, in a bored way",
        "a tired worker, a sleepy student, a bored clerk, someone after a long night",
        "no energy today, you are exhausted, be sleepy, it was a long day, barely move",
    ),
}


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _one(name: str, rng: np.random.Generator) -> str:
    """One request for one style."""
    words = WORDS[name]
    kind = int(rng.integers(9))
    if name == "hands_still" and kind in (2, 3, 5):
        kind = 8
    if kind == 0:
        return _pick(rng, words.adjectives)
    if kind == 1:
        first, second = rng.choice(len(words.adjectives), 2, replace=False)
        return f"{words.adjectives[first]}, {words.adjectives[second]}"
    if kind == 2:
        return f"be {_pick(rng, words.adjectives)}"
    if kind == 3:
        nouns = ("speaker", "presenter", "person", "tone", "manner", "performance", "style")
        noun = _pick(rng, nouns)
        simple = tuple(word for word in words.adjectives if " " not in word)
        return _article(f"{_pick(rng, simple)} {noun}")
    if kind in (4, 5):
        verb = _pick(rng, ("speak", "talk", "present", "say it", "deliver this", "speak to them"))
        return f"{verb} {_pick(rng, words.adverbs)}"
    if kind == 6:
        return _pick(rng, ("", "like ", "as ", "you are ")) + _pick(rng, words.roles)
    return _pick(rng, words.requests)


def _dress(text: str, rng: np.random.Generator) -> str:
    """Capitals and full stops as people type them."""
    if rng.random() < 0.3:
        text = text[:1].upper() + text[1:]
    return text + "." if rng.random() < 0.15 else text


def paraphrase(style: Named, rng: np.random.Generator) -> str:
    """A request for ``style`` in English; often empty for the default style."""
    parts = style.name.split("+")
    unknown = [part for part in parts if part not in WORDS]
    if unknown:
        raise ValueError(f"no words for style {unknown[0]!r}; there are {', '.join(WORDS)}")
    if parts == [DEFAULT]:
        return "" if rng.random() < 0.6 else _dress(_one(DEFAULT, rng), rng)
    said = [part for part in dict.fromkeys(parts) if part != DEFAULT]
    if len(said) == 2 and rng.random() < 0.4 and "hands_still" not in said:
        both = (_pick(rng, WORDS[said[0]].adjectives), _pick(rng, WORDS[said[1]].adjectives))
        return _dress(_pick(rng, (", ", " and ")).join(both), rng)
    if rng.random() < 0.3:
        said.reverse()
    return _dress(_pick(rng, (", ", "; ", " and ", ", but ")).join(_one(p, rng) for p in said), rng)
