"""Every voice of a server, by name or language, and the one that an avatar has by default.

The default is the service that the operator named, else the embedded voice, else espeak-ng, else
none; what it is and why is said once, in the log and in ``GET /v1/voices``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from server.errors import NoVoice, UnknownVoice, VoiceFailed
from server.speech.endpoint import Endpoint
from server.speech.voice import Offered, Voice
from server.speech.voices import embedded, espeak
from server.speech.voices.embedded import EmbeddedVoice, Synthesizer
from server.speech.voices.espeak import EspeakVoice
from server.speech.voices.remote import RemoteVoice

log = logging.getLogger(__name__)

REMOTE_VOICE: Final = "alloy"  # which most services have
WOMAN, MAN = "heart", "heart-low"
ESPEAK_DEFAULT: Final = "espeak-en-us"
EMBEDDED: Final = "pip install hibari-tts"
INSTALL: Final = f"{EMBEDDED}, or the system package espeak-ng"
Suits = Callable[[str], str]  # an avatar's id to "man", "woman" or nothing


class VoiceCatalog:
    """Satisfies ``Voices``. ``default`` is a voice's name, or empty for what suits the avatar."""

    def __init__(
        self,
        voices: Mapping[str, EmbeddedVoice | RemoteVoice | EspeakVoice],
        default: str,
        notice: str,
        synthesizer: Synthesizer | None = None,
        suits: Suits = lambda avatar: "",
    ) -> None:
        self._voices, self.default, self.notice = dict(voices), default, notice
        self._synthesizer, self._suits = synthesizer, suits

    def choose(self, name: str, avatar: str) -> Voice:
        """By name, or by language such as ``de``. Raises ``UnknownVoice``, ``NoVoice``."""
        if not self._voices:
            raise NoVoice(f"This server has no voice. {self.notice}")
        return self._voices[self._suited(avatar)] if not name else self._named(name)

    def offered(self) -> list[Offered]:
        """The default first."""
        names = sorted(self._voices, key=lambda name: name != self.default)
        return [Offered(v.name, v.language, v.natural) for v in map(self._voices.get, names) if v]

    async def open(self) -> None:
        """Speaks once, unheard, so that the first sentence does not wait for the model."""
        if self._synthesizer is not None:
            try:
                await self._synthesizer.speak(embedded.WARM_UP, lower=False)
            except VoiceFailed as failure:
                self.notice = failure.detail
                log.error("voice: %s", failure.detail)

    async def close(self) -> None:
        """Waits for the sentence that is being made."""
        if self._synthesizer is not None:
            await self._synthesizer.close()

    def _suited(self, avatar: str) -> str:
        if self.default == WOMAN and self._suits(avatar) == "man":
            return MAN
        return self.default

    def _named(self, name: str) -> Voice:
        if (voice := self._voices.get(name)) is not None:
            return voice
        wanted = name.lower()
        for voice in self._voices.values():
            language = voice.language.lower()
            if wanted == language or language.startswith(wanted + "-"):
                return voice
        some = ", ".join(list(self._voices)[:8])
        raise UnknownVoice(
            f"There is no voice {name[:60]!r}. There are {some} and others at GET /v1/voices."
        )


def find_voices(service: Endpoint, wanted: str, suits: Suits) -> VoiceCatalog:
    """What this machine offers; blocking. ``wanted`` is the setting ``voice``.

    Raises ``UnknownVoice``.
    """
    voices: dict[str, EmbeddedVoice | RemoteVoice | EspeakVoice] = {}
    synthesizer = None
    if service.url:
        name = wanted or REMOTE_VOICE
        voices[name] = RemoteVoice(name, service)
    if embedded.installed():
        synthesizer = Synthesizer()
        for name, lower in ((WOMAN, False), (MAN, True)):
            voices.setdefault(name, EmbeddedVoice(name, synthesizer, lower))
    if espeak.installed():
        for language in espeak.languages():
            voices.setdefault(f"espeak-{language}", EspeakVoice(language))
    default = _default(voices, wanted)
    notice = _notice(default, service)
    (log.info if default and not default.startswith("espeak") else log.warning)("voice: %s", notice)
    chosen = (lambda avatar: "") if wanted else suits  # the operator's choice is for everybody
    return VoiceCatalog(voices, default, notice, synthesizer, chosen)


def _default(voices: Mapping[str, object], wanted: str) -> str:
    if wanted and wanted not in voices:
        raise UnknownVoice(
            f"there is no voice {wanted!r}; there are: {', '.join(voices) or 'none'}"
        )
    first = next(iter(voices), "")
    plain = first.startswith("espeak") and ESPEAK_DEFAULT in voices
    return wanted or (ESPEAK_DEFAULT if plain else first)


def _notice(default: str, service: Endpoint) -> str:
    if not default:
        return f"Text cannot be spoken. Install one: {INSTALL}; or set voice_url."
    if service.url:
        return f"{default}, by {service.url}"
    if default.startswith("espeak"):
        missing = f", because hibari-tts is missing. Better: {EMBEDDED}"
        return f"{default}, a robot's voice{'' if embedded.installed() else missing}"
    return f"{default}, embedded: made on this machine"
