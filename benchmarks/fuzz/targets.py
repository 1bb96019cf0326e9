"""Targets in this process: parsers and decoders, what each takes, and how it says no.

``feed`` answers "taken", or a word for the refusal, or a status; it raises what nobody meant to
raise.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Self

from benchmarks.fuzz.inputs import BODIES, LINES, MESSAGES, OFFER, TRICKLE, WORDS, pictures, sounds
from server.api import forms, requests, validation
from server.auth import keys
from server.auth.jwt_tokens import Tokens
from server.errors import ServerError
from server.rtc import data_channel, ice, sdp_offer


class Target:
    """One place where bytes come in."""

    def __init__(
        self,
        name: str,
        weight: int,
        seeds: Sequence[bytes] | Callable[[], Sequence[bytes]],
        take: Callable[[bytes], str],
        tokens: Sequence[bytes] = WORDS,
    ) -> None:
        self.name, self.weight, self.tokens = name, weight, tokens
        self._seeds, self._take = seeds, take

    @property
    def seeds(self) -> Sequence[bytes]:
        """Whole inputs to begin with."""
        if callable(self._seeds):
            self._seeds = self._seeds()
        return self._seeds

    @property
    def pid(self) -> int:
        """The process whose memory is watched."""
        return os.getpid()

    def feed(self, data: bytes) -> str:
        """Offers one input."""
        return self._take(data)

    def complaints(self) -> list[str]:
        """What the process behind it said of failures that no answer told of."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left of a target in this process."""


def _refusing(act: Callable[[bytes], object], *refusals: type[Exception]) -> Callable[[bytes], str]:
    """``act`` as a target: its own refusals are answers, everything else is a finding."""

    def take(data: bytes) -> str:
        try:
            act(data)
        except refusals as refusal:
            status = getattr(refusal, "status", 400)
            return f"{status} {type(refusal).__name__}" if status >= 500 else type(refusal).__name__
        return "taken"

    return take


def _sdp(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    role = list(sdp_offer.PeerRole)[len(data) % 3]
    sdp_offer.parse(text, role)


def _fragment(data: bytes) -> None:
    ice.parse_fragment(data.decode("utf-8", "replace"))


def _body(data: bytes) -> None:
    validation.parse(requests.NewSession, forms.parse_object(data.decode("utf-8", "replace")))


def _message(data: bytes) -> None:
    data_channel.parse(data if len(data) % 2 else data.decode("utf-8", "replace"))


_TOKENS: Final = Tokens("x" * 32, "continuum", 900)


def _token(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    keys.parse(text)
    _TOKENS.read(text)


def _tokens() -> list[bytes]:
    made, _ = _TOKENS.make("0123456789ab", "https://shop.example", "", 900)
    none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjb250aW51dW0ifQ."
    return [made.encode(), none.encode(), b"ck_0123456789ab_" + b"A" * 43]


def _picture(data: bytes) -> str:
    from pipeline.errors import PictureError
    from pipeline.media.image_file import hashed
    from pipeline.media.image_sandbox import load_picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it then refuses
        return _refusing(lambda raw: load_picture(hashed(raw)), PictureError)(data)


class SoundTarget(Target):
    """Sound files: looked at, then decoded to the end."""

    def __enter__(self) -> Self:
        import av

        av.logging.set_level(None)
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "sound"
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def feed(self, data: bytes) -> str:
        """As ``client.call`` and ``pipeline.render`` read them."""
        from pipeline.errors import AudioError
        from pipeline.media.audio_file import open_audio, speech

        self._path.write_bytes(data)
        try:
            for _ in speech(open_audio(self._path)):
                pass
        except AudioError as refusal:
            return type(refusal).__name__
        return "taken"


TARGETS: Final[list[Target]] = [
    Target("sdp", 25, [OFFER.encode()], _refusing(_sdp, ServerError), LINES),
    Target("fragment", 20, [TRICKLE.encode()], _refusing(_fragment, ServerError), LINES),
    Target("body", 15, BODIES, _refusing(_body, ServerError)),
    Target("message", 25, MESSAGES, _refusing(_message, data_channel.Refused)),
    Target("token", 8, _tokens, _refusing(_token, ServerError)),
    Target("picture", 6, pictures, _picture),
    SoundTarget("sound", 5, sounds, lambda data: ""),
]
