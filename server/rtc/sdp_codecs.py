"""The usable formats of an offered section, in a form that aiortc can read. Pure.

Formats without a codec here (red, telephone-event, AV1, H.264 High) are removed with their
attributes. Static payload types need no ``rtpmap`` (RFC 3551, section 6).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from aiortc.codecs import CODECS
from aiortc.rtcpeerconnection import is_codec_compatible
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import parameters_from_sdp

from server.rtc.sdp import Media

STATIC: Final = {0: "PCMU/8000", 8: "PCMA/8000", 9: "G722/8000"}
DYNAMIC: Final = (*range(35, 64), *range(96, 128))  # 64 to 95 would be taken for RTCP (RFC 5761)
_RTPMAP: Final = re.compile(r"([0-9]{1,3}) +([A-Za-z0-9_.-]+)/([0-9]{1,6})(?:/([0-9]{1,2}))?")
_FEEDBACK: Final = re.compile(r"([0-9]{1,3}|\*) \S+( \S.*)?")


def names(media: Media) -> list[str]:
    """What the section offers, for people: ``AV1``, ``H264``; each once."""
    maps = _rtpmaps(media)
    found = (maps.get(int(f), f) for f in media.formats if f.isascii() and f.isdigit())
    return list(dict.fromkeys(name.partition("/")[0] for name in found))


def usable(media: Media) -> tuple[tuple[int, ...], list[str]]:
    """Payload types that we can take, and their lines."""
    maps, kept = _rtpmaps(media), list[int]()
    for payload in _payloads(media):
        if payload in maps and _served(media, payload, maps[payload], kept):
            kept.append(payload)
    return tuple(kept), list(_lines(media, maps, kept))


def _payloads(media: Media) -> list[int]:
    found = [int(f) for f in media.formats if re.fullmatch("[0-9]{1,3}", f)]
    return [payload for payload in dict.fromkeys(found) if payload in DYNAMIC or payload in STATIC]


def _rtpmaps(media: Media) -> dict[int, str]:
    """``opus/48000/2`` by payload type."""
    maps = dict(STATIC) if media.kind == "audio" else {}
    for value in media.attributes.all("rtpmap"):
        if match := _RTPMAP.fullmatch(value):
            maps[int(match[1])] = value.split(maxsplit=1)[1]
    return maps


def _served(media: Media, payload: int, mapped: str, kept: list[int]) -> bool:
    name, rate = mapped.split("/")[:2]
    if payload in STATIC and STATIC[payload].lower() != f"{name}/{rate}".lower():
        return False
    parameters = dict(parameters_from_sdp(_format(media, payload)))
    if name.lower() == "rtx":
        return parameters.get("apt") in kept
    offered = RTCRtpCodecParameters(
        f"{media.kind}/{name}", int(rate), payloadType=payload, parameters=parameters
    )
    try:
        return any(is_codec_compatible(codec, offered) for codec in CODECS[media.kind])
    except TypeError:  # a parameter that has a value by its standard, and none here
        return False


def _format(media: Media, payload: int) -> str:
    """The payload type's ``fmtp``; empty when it has none that can be read."""
    for value in media.attributes.all("fmtp"):
        number, _, text = value.partition(" ")
        if number == str(payload):
            try:
                parameters_from_sdp(text)
            except ValueError:
                continue
            return text
    return ""


def _lines(media: Media, maps: dict[int, str], kept: list[int]) -> Iterator[str]:
    for payload in kept:
        yield f"a=rtpmap:{payload} {maps[payload]}"
        if text := _format(media, payload):
            yield f"a=fmtp:{payload} {text}"
    for value in media.attributes.all("rtcp-fb"):
        match = _FEEDBACK.fullmatch(value)
        if match and (match[1] == "*" or int(match[1]) in kept):
            yield f"a=rtcp-fb:{value}"
