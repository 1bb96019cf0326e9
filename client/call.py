"""``python -m client.call``: a headless caller. Speaks a sound file, records what comes back.

Ends a second after the sound does. Exit status 0 when pictures and sound came back, 1 when they did
not, 2 when there was no call; then one line on stderr says why.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from client.caller import Caller, read_key
from client.errors import CallError
from client.microphone import RATE, Microphone, read
from client.receive import Picture, Sound
from client.recording import Recording

TAIL_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a call."""

    url: str
    avatar: str
    session: str
    seconds: float
    width: int
    height: int
    pictures: int
    fps: float
    sound_s: float
    connected_s: float
    first_picture_s: float | None
    video_kbps: float
    lost_packets: int
    left_out: int
    events: dict[str, int]
    record: str | None


class Tally:
    """Counts what comes back, and hands it to a recording if there is one."""

    def __init__(self, call: Caller, record: Path | None) -> None:
        self._call, self._path = call, record
        self.recording: Recording | None = None
        self.pictures = self.samples = self.video_bytes = 0
        self.size = (0, 0)
        self.first_s: float | None = None
        call.on_picture, call.on_sound = self._picture, self._sound

    def _picture(self, picture: Picture) -> None:
        self.first_s = self.first_s or picture.decoded_s
        self.pictures += 1
        self.video_bytes += picture.size
        self.size = (picture.frame.width, picture.frame.height)
        if self._tape is not None:
            self._tape.picture(picture)

    def _sound(self, sound: Sound) -> None:
        self.samples += len(sound.pcm)
        if self._tape is not None:
            self._tape.sound(sound)

    @property
    def _tape(self) -> Recording | None:
        if self.recording is None and self._path is not None:
            lines = self._call.lines
            self.recording = Recording(self._path, lines["video"].clock, lines["audio"].clock)
        return self.recording


async def call(
    url: str,
    avatar: str,
    audio: Path,
    record: Path | None,
    prompt: str,
    seconds: float | None,
    key: str = "",
) -> Result:
    """One call. Raises ``CallError``."""
    pcm = await asyncio.to_thread(read, audio)
    duration = seconds or len(pcm) / RATE + TAIL_S
    async with Caller(url, Microphone(pcm, repeat=seconds is not None), key) as caller:
        tally = Tally(caller, record)
        try:
            await caller.start(avatar, **({"prompt": prompt} if prompt else {}))
            with contextlib.suppress(TimeoutError):  # it went on for as long as was asked
                await asyncio.wait_for(caller.ended.wait(), duration)
            talked = time.monotonic() - caller.connected_s
        finally:
            await caller.hang_up()
            if tally.recording is not None:
                await asyncio.to_thread(tally.recording.close)
    return _result(url, avatar, caller, tally, talked, record)


def _result(
    url: str, avatar: str, caller: Caller, tally: Tally, talked: float, record: Path | None
) -> Result:
    first = tally.first_s
    return Result(
        url=url,
        avatar=avatar,
        session=caller.session.rsplit("/", 1)[-1],
        seconds=round(talked, 3),
        width=tally.size[0],
        height=tally.size[1],
        pictures=tally.pictures,
        fps=round(tally.pictures / max(talked - (first or 0) + caller.connected_s, 1e-3), 2)
        if first
        else 0.0,
        sound_s=round(tally.samples / RATE, 3),
        connected_s=round(caller.connected_s - caller.asked_s, 3),
        first_picture_s=round(first - caller.connected_s, 3) if first else None,
        video_kbps=round(tally.video_bytes * 8 / talked / 1000, 1),
        lost_packets=sum(line.assembly.lost for line in caller.lines.values()),
        left_out=tally.recording.left_out if tally.recording else 0,
        events=dict(Counter(event["type"] for _, event in caller.events)),
        record=str(record) if tally.recording and tally.recording.begun else None,
    )


async def _asked(given: argparse.Namespace) -> Result:
    said = (given.url, given.avatar, given.audio, given.record, given.prompt, given.seconds)
    return await call(*said, read_key(given.key))


def main(argv: Sequence[str] | None = None) -> int:
    """The command; see the module's docstring for its exit status."""
    given = _parser().parse_args(argv)
    try:
        result = asyncio.run(_asked(given))
    except CallError as failure:
        sys.stderr.write(f"client.call: {failure}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    if given.json:
        given.json.write_text(json.dumps(asdict(result), indent=2) + "\n")
    print(
        f"{result.seconds:.1f} s with {result.avatar}: {result.pictures} pictures of "
        f"{result.width}x{result.height}, {result.fps:.1f} a second; {result.sound_s:.1f} s"
        f" of sound; {result.video_kbps:.0f} kbit/s; {result.record or 'not recorded'}"
    )
    return 0 if result.pictures and result.sound_s else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m client.call", description=__doc__)
    parser.add_argument("--url", required=True, help="the server, such as http://localhost:8080")
    parser.add_argument("--avatar", required=True, help="who is called")
    parser.add_argument("--audio", required=True, type=Path, help="what is said: any sound file")
    parser.add_argument("--record", type=Path, metavar="OUT.mp4", help="records what comes back")
    parser.add_argument("--prompt", default="", help='manner, such as "calm, friendly"')
    parser.add_argument("--seconds", type=float, help="repeats the sound for this long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the result")
    parser.add_argument("--key", type=Path, metavar="FILE", help="file with an API key")
    return parser


if __name__ == "__main__":
    sys.exit(main())
