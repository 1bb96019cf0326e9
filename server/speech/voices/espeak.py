"""The system's ``espeak-ng``: many languages, a robot's voice, where nothing better is."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import numpy as np

from server.errors import VoiceFailed
from server.speech.voice import SpeechChunk
from server.speech.voices import reading

PROGRAM: Final = "espeak-ng"
RATE: Final = 22_050
HEADER: Final = 44  # bytes of a WAV file before its samples
PIECE: Final = RATE // 2 * 2  # bytes: half a second
LISTING_S: Final = 5.0
_HOMELESS: Final = ("env", f"HOME={os.devnull}")  # else its sound library makes a folder there


def installed() -> bool:
    """Whether the program is there."""
    return shutil.which(PROGRAM) is not None


def languages() -> list[str]:
    """BCP 47 tags that it reads, by its own list. Blocking; empty where it cannot say."""
    command = [*_HOMELESS, PROGRAM, "--voices"]
    try:
        told = subprocess.run(
            command,
            capture_output=True,
            timeout=LISTING_S,
            check=True,
            text=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split() for line in told.stdout.splitlines()[1:])
    return sorted({row[1] for row in rows if len(row) > 1})


@dataclass(frozen=True, slots=True)
class EspeakVoice:
    """One language."""

    language: str
    sample_rate: int = RATE
    natural: bool = False

    @property
    def name(self) -> str:
        """``espeak-`` and the language."""
        return f"espeak-{self.language}"

    def check(self, text: str) -> None:
        """Raises ``TextRefused``."""
        reading.check(text)

    async def speak(self, text: str, *, style: str = "") -> AsyncGenerator[SpeechChunk, None]:
        """As the program writes it; ``style`` changes nothing. Raises ``VoiceFailed``."""
        command = (*_HOMELESS, PROGRAM, "--stdin", "--stdout", "-b", "1", "-v", self.language)
        try:
            program = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
            )
        except OSError as failure:
            raise VoiceFailed(f"{PROGRAM} cannot be started: {failure}. Install it.") from failure
        writing = asyncio.ensure_future(_write(program, reading.plain(text)))
        try:
            async for chunk in _read(program):
                yield chunk
        finally:
            writing.cancel()
            with contextlib.suppress(ProcessLookupError):
                program.kill()
            await program.wait()


async def _write(program: Process, text: str) -> None:
    assert program.stdin is not None
    with contextlib.suppress(OSError):  # it has ended: what it wrote says why
        program.stdin.write(text.encode())
        await program.stdin.drain()
        program.stdin.close()


async def _read(program: Process) -> AsyncGenerator[SpeechChunk, None]:
    assert program.stdout is not None
    header = await _header(program.stdout)
    heard = False
    while header and (piece := await _piece(program.stdout)):
        heard = True
        yield SpeechChunk(np.frombuffer(piece, "<i2"))
    if not heard:
        raise VoiceFailed(f"{PROGRAM} gave no speech; try it by hand: {PROGRAM} hello")


async def _header(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readexactly(HEADER)
    except asyncio.IncompleteReadError:
        return b""


async def _piece(stream: asyncio.StreamReader) -> bytes:
    """Half a second of samples, or what is left."""
    try:
        return await stream.readexactly(PIECE)
    except asyncio.IncompleteReadError as rest:
        return rest.partial[: len(rest.partial) // 2 * 2]
