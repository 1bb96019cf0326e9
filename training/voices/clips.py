"""Speech whose phonemes are known: what a clip holds, and shards of clips on disk.

This file knows nothing of how the speech was made; `voices` does.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
DELIVERIES = ("flat", "plain", "emphatic", "silence", "noise")
_LAYOUT = 1


@dataclass(frozen=True, slots=True)
class Phone:
    """One phone, over samples [start, end) at 16 kHz."""

    start: int
    end: int
    ipa: str  # "" is silence
    stress: int = 0  # of a vowel: 0 none, 1 primary, 2 secondary; 0 for all else
    word: int = -1  # counts the words of the clip; -1 belongs to none
    emphasis: bool = False  # the speaker leans on this word

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise ValueError(f"phone {self.ipa!r} starts at {self.start} and ends at {self.end}")
        if self.stress not in (0, 1, 2):
            raise ValueError(f"stress of {self.ipa!r} must be 0, 1 or 2, got {self.stress}")


@dataclass(frozen=True, slots=True)
class Clip:
    """Clean speech and the phones that cover it without a gap."""

    audio: NDArray[np.float32]  # (N,) at 16 kHz, within [-1, 1]
    phones: tuple[Phone, ...]
    voice: str  # engine/voice, "espeak/en-us+f2"
    language: str
    delivery: str  # one of DELIVERIES
    text: str

    def __post_init__(self) -> None:
        if self.delivery not in DELIVERIES:
            raise ValueError(f"delivery {self.delivery!r} is none of {', '.join(DELIVERIES)}")
        at = 0
        for phone in self.phones:
            if phone.start != at:
                raise ValueError(f"phone {phone.ipa!r} starts at {phone.start}, not at {at}")
            at = phone.end
        if at != len(self.audio):
            raise ValueError(f"phones cover {at} samples of {len(self.audio)}")

    @property
    def seconds(self) -> float:
        return len(self.audio) / SAMPLE_RATE


def save_shard(path: str | os.PathLike[str], clips: Sequence[Clip]) -> None:
    """Write clips as 16-bit audio and plain arrays; the file appears whole or not at all."""
    if not clips:
        raise ValueError("a shard needs at least one clip, got 0")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    phones = [phone for clip in clips for phone in clip.phones]
    names = sorted({phone.ipa for phone in phones})
    index = {name: i for i, name in enumerate(names)}
    rows = [(p.end, index[p.ipa], p.stress, p.word, p.emphasis) for p in phones]
    audio = [np.rint(np.clip(clip.audio, -1, 1) * 32767).astype(np.int16) for clip in clips]
    meta = {
        "layout": _LAYOUT,
        "ipa": names,
        "clips": [[c.voice, c.language, c.delivery, c.text] for c in clips],
    }
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        np.savez(
            file,
            audio=np.concatenate(audio),
            samples=np.array([len(a) for a in audio], np.int64),
            counts=np.array([len(clip.phones) for clip in clips], np.int64),
            phones=np.array(rows, np.int32).reshape(-1, 5),
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
        )
    part.replace(target)


def load_shard(path: str | os.PathLike[str]) -> list[Clip]:
    """Read what `save_shard` wrote. Raises ValueError for another layout."""
    with np.load(path, allow_pickle=False) as shard:
        meta = json.loads(shard["meta"].tobytes())
        audio, rows = shard["audio"], shard["phones"]
        samples, counts = shard["samples"], shard["counts"]
    if meta["layout"] != _LAYOUT:
        raise ValueError(f"{path} has layout {meta['layout']}, this code reads {_LAYOUT}")
    sound = np.split(audio, np.cumsum(samples)[:-1])
    spoken = np.split(rows, np.cumsum(counts)[:-1])
    return [
        Clip(
            audio=(pcm / np.float32(32767)).astype(np.float32),
            phones=_phones(part, meta["ipa"]),
            voice=voice,
            language=language,
            delivery=delivery,
            text=text,
        )
        for pcm, part, (voice, language, delivery, text) in zip(
            sound, spoken, meta["clips"], strict=True
        )
    ]


def _phones(rows: NDArray[np.int32], names: Sequence[str]) -> tuple[Phone, ...]:
    ends = rows[:, 0].tolist()
    starts = [0, *ends[:-1]]
    return tuple(
        Phone(start, end, names[ipa], stress, word, bool(emphasis))
        for start, (end, ipa, stress, word, emphasis) in zip(starts, rows.tolist(), strict=True)
    )
