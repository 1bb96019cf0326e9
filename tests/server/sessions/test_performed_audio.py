"""What is performed: a peer's audio, or utterances in its place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from server.media.audio_receiver import AudioBlock
from server.sessions.performed_audio import PerformedAudio
from server.speech.speech import Speech
from server.speech.utterance import Utterance

BLOCK = 960


@dataclass
class Sent:
    """Sound has left up to here."""

    sent: int


def heard(position: int) -> AudioBlock:
    """A block of a peer whose samples are all 7."""
    pcm = np.full(BLOCK, 7, np.int16)
    return AudioBlock(position, pcm, np.zeros(BLOCK // 3, np.float32), [], 5)


def spoken(samples: int) -> Speech:
    speech = Speech(lambda kind, **fields: None, lambda style: None)
    utterance = speech.accept(Utterance("a"))
    utterance.write(np.arange(1, samples + 1, dtype=np.int16))
    utterance.end()
    return speech


def test_an_utterance_takes_the_place_of_the_peer_who_comes_back_after_it() -> None:
    performed = PerformedAudio(spoken(BLOCK), False, Sent(0))
    first, second = performed(heard(0)), performed(heard(BLOCK))
    assert first.pcm_48k[0] == 1 and first.pcm_48k[-1] == BLOCK and first.rtp is None
    assert (second.pcm_48k == 7).all() and second.rtp == 5


def test_who_is_listened_to_is_not_performed() -> None:
    speech = Speech(lambda kind, **fields: None, lambda style: None)
    block = PerformedAudio(speech, True, Sent(0))(heard(0))
    assert not block.pcm_48k.any() and len(block.pcm_16k) == BLOCK // 3


def test_a_process_that_was_held_up_loses_nothing_of_an_utterance() -> None:
    performed = PerformedAudio(spoken(BLOCK), False, Sent(2 * BLOCK + 301))
    blocks = [performed(heard(index * BLOCK)).pcm_48k for index in range(4)]
    pcm = np.concatenate(blocks)
    assert not pcm[: 2 * BLOCK + 303].any(), "what has left is not spoken into"
    assert np.array_equal(pcm[2 * BLOCK + 303 :][:BLOCK], np.arange(1, BLOCK + 1))
