"""An agent that speaks through an avatar: a text, a sound file, and an interruption.

    python examples/agent.py speech.wav --url http://localhost:8080 --avatar mira

Prints where to watch (open it with ``watch.html``), and how much of each utterance was heard.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from client.avatar import Avatar
from client.microphone import RATE, read


def say(line: str) -> None:
    """A line, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def talk(url: str, name: str, file: Path, interrupt_s: float) -> None:
    """Speaks a file twice; the second time somebody interrupts."""
    pcm = read(file)
    async with Avatar(url, name) as avatar:
        made = avatar.session
        say(f"watch.html?whep={url}{made['whep']}#token={made['token']}")
        whole = await avatar.speak(pcm, RATE)
        say(f"heard {(await whole.finished).position_ms} ms")
        again = await avatar.speak(pcm, RATE, style="lively")
        await again.started
        await asyncio.sleep(interrupt_s)
        await avatar.clear()
        say(f"interrupted after {(await again.finished).position_ms} ms")


def main() -> int:
    """Reads the arguments and speaks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--interrupt", type=float, default=1.0, metavar="S")
    given = parser.parse_args()
    asyncio.run(talk(given.url, given.avatar, given.audio, given.interrupt))
    return 0


if __name__ == "__main__":
    sys.exit(main())
