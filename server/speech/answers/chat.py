"""A language model behind a URL: any OpenAI-compatible ``/chat/completions``, as it streams.

Knows the wire format: server-sent events, or one JSON object from services that do not stream.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import ClientResponse

from server.errors import ChatFailed
from server.speech.endpoint import Endpoint, whole
from server.speech.voices.sentences import sentences

MOST: Final = 4000  # characters of an answer; what is longer is not waited for
LINE: Final = 256 * 1024  # bytes of one event
Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Chat:
    """One model of one service."""

    endpoint: Endpoint

    async def sentences(self, messages: Sequence[Message]) -> AsyncGenerator[str, None]:
        """The answer to a conversation, each sentence as soon as it is whole; at most ``MOST``
        characters. Raises ``ChatFailed``."""
        asked = {"model": self.endpoint.model, "messages": list(messages), "stream": True}
        text, count = "", 0
        async with self.endpoint.post("chat/completions", asked) as response:
            async with aclosing(_pieces(response)) as pieces:
                async for piece in pieces:
                    text = _without_thoughts(text + piece)
                    found, text = _cut(text)
                    for sentence in found:
                        count += len(sentence)
                        yield sentence
                    if count + len(text) > MOST:
                        break
            for sentence in sentences("" if _thinks(text) else text):
                count += len(sentence)
                yield sentence
            if not count:
                raise ChatFailed(f"{response.url} sent no text.")


def _cut(text: str) -> tuple[list[str], str]:
    """Whole sentences, and the rest, which goes on."""
    found = [] if _thinks(text) else sentences(text)
    return (found[:-1], text[text.rindex(found[-1]) :]) if len(found) > 1 else ([], text)


def _thinks(text: str) -> bool:
    return text.lstrip().startswith("<think>")


def _without_thoughts(text: str) -> str:
    """Local models often send what they think before what they say."""
    return text.partition("</think>")[2] if _thinks(text) and "</think>" in text else text


async def _pieces(response: ClientResponse) -> AsyncGenerator[str, None]:
    if response.content_type == "application/json":
        yield _text(response, await whole(response, LINE), "message")
        return
    async for event in _events(response):
        if event == b"[DONE]":
            return
        yield _text(response, event, "delta")


async def _events(response: ClientResponse) -> AsyncIterator[bytes]:
    """The data of server-sent events; comments and other fields are left out."""
    rest = b""
    async for piece in response.content.iter_any():
        *lines, rest = (rest + piece).split(b"\n")
        if len(rest) > LINE:
            raise ChatFailed(f"{response.url} sent an event of more than {LINE} bytes.")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


def _text(response: ClientResponse, event: bytes, where: str) -> str:
    """What an event adds to the answer. Raises ``ChatFailed``."""
    try:
        content: Any = json.loads(event)
        if "error" in content:
            raise ChatFailed(f"{response.url} broke off: {json.dumps(content['error'])[:300]}")
        choices = content["choices"]
        return (choices[0][where].get("content") or "") if choices else ""
    except (ValueError, LookupError, TypeError, AttributeError) as failure:
        raise ChatFailed(
            f"{response.url} sent {event[:60]!r}, where an answer in the format of OpenAI's"
            " chat/completions was expected."
        ) from failure
