"""Calls an avatar with a sound file as the microphone, and counts what comes back.

    python examples/call_from_file.py speech.wav --url http://localhost:8080 --avatar mira

``python -m client.call`` does the same and records the answer; this is the client in a program.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from client.caller import Caller
from client.microphone import RATE, Microphone, read


async def call(url: str, avatar: str, audio: Path) -> str:
    """Speaks the file once and hangs up."""
    pcm = read(audio)
    pictures: list[float] = []
    async with Caller(url, Microphone(pcm)) as caller:
        caller.on_picture = lambda picture: pictures.append(picture.decoded_s)
        await caller.start(avatar, prompt="calm, friendly")
        await asyncio.sleep(len(pcm) / RATE + 1.0)
    spoken = sum(event["type"] == "speaking_started" for _, event in caller.events)
    return f"{len(pictures)} pictures, {spoken} utterances"


def main() -> None:
    """Reads the arguments and calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--avatar", default="mira")
    arguments = parser.parse_args()
    line = asyncio.run(call(arguments.url, arguments.avatar, arguments.audio))
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
