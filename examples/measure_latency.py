"""Measures a server's delay from microphone to picture, as a number for your own dashboard.

    python examples/measure_latency.py speech.wav --url http://localhost:8080 --seconds 20

``python -m client.latency`` prints every figure, checks budgets and draws the plot.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from client.latency import measured, run
from client.microphone import read


async def delay_ms(url: str, avatar: str, audio: Path, seconds: float) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    figures, *_ = measured(await run(url, avatar, read(audio), seconds, measure=True))
    spread = figures["latency_ms"]
    return {name: spread[name] for name in ("p50", "p95")}


def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--avatar", default="mira")
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    found = asyncio.run(delay_ms(given.url, given.avatar, given.audio, given.seconds))
    sys.stdout.write(f"microphone to picture: {found['p50']:.0f} / {found['p95']:.0f} ms\n")


if __name__ == "__main__":
    main()
