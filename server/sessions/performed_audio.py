"""What the avatar performs: what a peer says, or the session's utterances in its place.

The peer's audio keeps the time. While utterances wait or come in they are performed instead, and
what the peer says meanwhile is heard but not performed; so is all of it in a session that listens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from server.media.audio_receiver import AudioBlock, Pcm
from server.media.resampler import Decimator
from server.media.vad import VoiceActivityDetector
from server.speech.speech import Speech
from server.speech.utterance import GRAIN


class Sender(Protocol):
    """``server.media.sender.MediaSender``, as far as it is known here."""

    sent: int  # the 48 kHz position up to which sound has left


class PerformedAudio:
    """One session's. It detects speech in what is performed, as the receiver does in what comes."""

    def __init__(self, speech: Speech, listens: bool, sender: Sender) -> None:
        self._speech, self._listens = speech, listens
        self._sender = sender
        self._decimate = Decimator()
        self._vad = VoiceActivityDetector()
        self._ours = False  # the last block was not the peer's

    def __call__(self, heard: AudioBlock) -> AudioBlock:
        """What is performed at the place of this block."""
        block = self._block(heard)
        return replace(block, edges=self._vad.push(block.pcm_16k))

    @property
    def speaking(self) -> bool:
        """Whether the newest of it is speech."""
        return self._vad.speaking

    def interrupt(self, media_time: int) -> None:
        """What was performed last is not heard; what follows begins anew at ``media_time``."""
        self._decimate = Decimator()
        self._vad.interrupt(media_time)

    def _block(self, heard: AudioBlock) -> AudioBlock:
        if not self._speech.busy and not self._listens:
            self._ours = False
            return heard
        if not self._ours:
            self._ours, self._decimate = True, Decimator()
        pcm_48k = self._spoken(heard.position, len(heard.pcm_48k))
        return replace(heard, pcm_48k=pcm_48k, pcm_16k=self._decimate(pcm_48k), rtp=None)

    def _spoken(self, position: int, size: int) -> Pcm:
        """The next of the utterances; silence where they are not there in time, and at places
        that have left already because the process was held up: nothing of them is lost there."""
        gone = self._sender.sent - position
        late = min(max(0, gone + -gone % GRAIN), size)
        pcm = self._speech.take(position + late, size - late)
        return np.pad(pcm, (late, size - late - len(pcm)))
