"""Speech over HTTP: a text, or a sound file as it is uploaded (docs/speech.md)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing, closing
from typing import Final

import numpy as np
from aiohttp import web

from server.api import answers
from server.api.forms import CHUNK, read_json
from server.api.middleware import SIGNALLING, UPLOADS, respond
from server.api.requests import File, NewText, SpeechQuery
from server.api.routes import JSON, Content, RouteTable
from server.api.sessions import GRANTED, SESSION, asked, here, own
from server.api.validation import parse_query
from server.auth.access import May
from server.cluster.local import spoken
from server.errors import (
    BadRequest,
    NotInCluster,
    NoVoice,
    QueueFull,
    ServerError,
    SoundRefused,
    TextRefused,
    TooLarge,
    UnknownSession,
    UnknownVoice,
    UnsupportedMediaType,
)
from server.rtc.data_channel import Say
from server.sessions.session import Session
from server.speech import sound_file
from server.speech.resampling import To48k
from server.speech.sound_file import PcmStream
from server.speech.speech import Source
from server.speech.utterance import RATE, Pcm, Utterance

routes = RouteTable()
PCM: Final = "audio/pcm"
WAV: Final = "audio/wav"
MAX_FILE: Final = 32 * 1024 * 1024  # bytes of a file that is not spoken while it comes
SECOND: Final = RATE  # samples that a decoder is asked for at a time


@routes(
    "POST",
    SESSION + "/speech",
    May.OWN,
    query=SpeechQuery,
    body=Content(NewText),
    also=(Content(File, WAV), Content(File, PCM), Content(File, "audio/*")),
    answer=Content(answers.Spoken),
    status=202,
    errors=(
        UnknownSession,
        *GRANTED,
        QueueFull,
        TextRefused,
        UnknownVoice,
        NoVoice,
        SoundRefused,
        NotInCluster,
    ),
)
async def speak(request: web.Request) -> web.Response:
    """Say something: a text, or sound as it is uploaded."""
    who, signalling = asked(request), request.app[SIGNALLING]
    await signalling.check_session(who)
    query = parse_query(SpeechQuery, request.query)
    if request.content_type == JSON:
        text = await read_json(request, NewText)
        name, style = text.id or query.id, text.style or query.style
        said = Say(text.text, name, text.voice, style)
        return respond(await signalling.say(who, said, bool(query.wait)), 202)
    session = own(request)
    await here(request).manager.stands(session)
    utterance = await _accepted(request, session, query)
    return respond(await spoken(utterance, bool(query.wait)), 202)


async def _accepted(request: web.Request, session: Session, query: SpeechQuery) -> Utterance:
    """What the body holds, all of it."""
    if not request.content_type.startswith(("audio/", "video/", "application/octet-stream")):
        raise UnsupportedMediaType(f"Send {JSON} or a sound file, not {request.content_type}.")
    return await _sound(request, session.speech.posted, query)


async def _sound(request: web.Request, source: Source, query: SpeechQuery) -> Utterance:
    """Begins with the first sound that can be used, so that a bad file is no utterance."""
    utterance: Utterance | None = None
    try:
        async with aclosing(_pieces(request)) as pieces:
            async for pcm in pieces:
                if len(pcm):
                    utterance = utterance or source.begin(query.id, query.style)
                    if not await source.write(utterance, pcm):
                        break  # it was cleared
    except ServerError as failure:
        if utterance is not None:
            utterance.fail({"type": failure.type, "detail": failure.detail})
        raise
    finally:
        if utterance is not None:
            utterance.end()
    if utterance is None:
        raise SoundRefused("There is no sound in this body.")
    return utterance


async def _pieces(request: web.Request) -> AsyncGenerator[Pcm, None]:
    """The body as 48 kHz mono, while it comes where that can be."""
    if request.content_type == PCM:
        stream: tuple[PcmStream, bytes] | None = (PcmStream(_rate(request)), b"")
        head = b""
    else:
        head = await _head(request)
        stream = sound_file.wav(head)
    if stream is None:
        async for pcm in _file(request, head):
            yield pcm
        return
    read, rest = stream
    convert = To48k(read.rate)
    yield convert(read(rest))
    while data := await request.content.read(CHUNK):
        yield convert(read(data))
    yield convert.flush()


def _rate(request: web.Request) -> int:
    given = request.headers["Content-Type"].lower().replace(" ", "").partition("rate=")[2]
    rate = given.partition(";")[0]
    if not rate.isdecimal() or len(rate) > 6:
        raise BadRequest(f"Say the rate of bare PCM: Content-Type: {PCM};rate=24000.")
    return int(rate)


async def _head(request: web.Request) -> bytes:
    """Enough of the body to know what it is."""
    head = bytearray()
    while len(head) < sound_file.HEADER and sound_file.wav(bytes(head)) is None:
        if not (data := await request.content.read(CHUNK)):
            break
        head += data
        if len(head) >= 4 and head[:4] != b"RIFF":
            break
    return bytes(head)


async def _file(request: web.Request, head: bytes) -> AsyncIterator[Pcm]:
    data = bytearray(head)
    while more := await request.content.read(CHUNK):
        data += more
        if len(data) > MAX_FILE:
            raise TooLarge(f"A sound file may have {MAX_FILE} bytes. Send WAV to stream more.")
    with closing(_seconds(sound_file.pieces(bytes(data)))) as seconds:
        while (pcm := await request.app[UPLOADS].run(next, seconds, None)) is not None:
            yield pcm


def _seconds(pieces: Generator[Pcm, None, None]) -> Generator[Pcm, None, None]:
    """Pieces of about a second: few turns on a thread, and little in memory."""
    held: list[Pcm] = []
    for piece in pieces:
        held.append(piece)
        if sum(map(len, held)) >= SECOND:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)
