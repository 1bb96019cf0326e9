"""The doors that ``benchmarks.fuzz`` feeds: what each takes, and how it says no.

``feed`` answers "taken", or a word for the refusal, or a status; it raises what nobody meant to
raise. Doors over HTTP have a server with a fake model behind them, in a process of its own.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import warnings
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

from server.api import forms, requests, validation
from server.auth import keys
from server.auth.jwt_tokens import Tokens
from server.errors import ServerError
from server.rtc import data_channel, ice, sdp_offer

PATIENCE_S: Final = 0.5  # for the rest of a request that never comes
SDP: Final = "application/sdp"
FORM: Final = "multipart/form-data; boundary=x"
FRAGMENT: Final = "application/trickle-ice-sdpfrag"
_FINGERPRINT: Final = ":".join(["AB"] * 32)
OFFER: Final = f"""v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0 1 2
m=audio 9 UDP/TLS/RTP/SAVPF 111 0
c=IN IP4 0.0.0.0
a=rtpmap:111 opus/48000/2
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:0 PCMU/8000
a=mid:0
a=sendrecv
a=rtcp-mux
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=fingerprint:sha-256 {_FINGERPRINT}
a=setup:actpass
m=video 9 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
a=mid:1
a=recvonly
a=rtcp-mux
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=fingerprint:sha-256 {_FINGERPRINT}
a=setup:actpass
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:2
a=sctp-port:5000
a=max-message-size:262144
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=fingerprint:sha-256 {_FINGERPRINT}
a=setup:actpass
""".replace("\n", "\r\n")
TRICKLE: Final = """a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
m=audio 9 UDP/TLS/RTP/SAVPF 0
a=mid:0
a=candidate:1 1 udp 2122260223 127.0.0.1 9 typ host generation 0 ufrag EsAw
a=candidate:2 1 tcp 1 ::1 9 typ srflx raddr 0.0.0.0 rport 9 tcptype passive
a=end-of-candidates
""".replace("\n", "\r\n")
BODIES: Final = [
    b'{"avatar": "mira", "prompt": "calm", "seed": 7, "measure": false}',
    b'{"avatar": "mira"}',
    b'{"avatar": "tomo", "prompt": "' + b"x" * 500 + b'", "seed": 2147483647}',
]
MESSAGES: Final = [
    b'{"type": "interrupt"}',
    b'{"type": "prompt", "text": "warm"}',
    b'{"type": "mute", "muted": true}',
    b'{"type": "ping", "id": 17}',
]
WORDS: Final = [
    b"\x00",
    b"\xff\xfe",
    b"\r\n",
    b"\n",
    b"-1",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"null",
    b"true",
    b"[" * 300,
    b'{"a":' * 300,
    b'"',
    b"\\ud800",
    "\N{GRINNING FACE}".encode(),
    b"%s%n",
    b"../../",
    b"=",
    b":",
    b" ",
]
LINES: Final = [
    *WORDS,
    b"m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n",
    b"m=video 0 x x\r\n",
    b"a=rtpmap:0 x/0/0\r\n",
    b"a=fmtp:111 =;=\r\n",
    b"a=extmap:x\r\n",
    b"a=ssrc:1 cname\r\n",
    b"a=candidate:1 1 udp 1 999.1.1.1 99999 typ host\r\n",
    b"a=candidate:1 1 udp 1 mira.local 9 typ host\r\n",
    b"a=group:BUNDLE\r\n",
    b"a=inactive\r\n",
    b"a=setup:holdconn\r\n",
    b"c=IN IP6 x\r\n",
]


class Door:
    """One place where bytes come in."""

    def __init__(
        self,
        name: str,
        weight: int,
        seeds: Sequence[bytes] | Callable[[], Sequence[bytes]],
        take: Callable[[bytes], str],
        tokens: Sequence[bytes] = WORDS,
    ) -> None:
        self.name, self.weight, self.tokens = name, weight, tokens
        self._seeds, self._take = seeds, take

    @property
    def seeds(self) -> Sequence[bytes]:
        """Whole inputs to begin with."""
        if callable(self._seeds):
            self._seeds = self._seeds()
        return self._seeds

    @property
    def pid(self) -> int:
        """The process whose memory is watched."""
        return os.getpid()

    def feed(self, data: bytes) -> str:
        """Offers one input."""
        return self._take(data)

    def complaints(self) -> list[str]:
        """What the process behind the door said of failures that no answer told of."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left of a door in this process."""


def _refusing(act: Callable[[bytes], object], *refusals: type[Exception]) -> Callable[[bytes], str]:
    """``act`` as a door: its own refusals are answers, everything else is a finding."""

    def take(data: bytes) -> str:
        try:
            act(data)
        except refusals as refusal:
            status = getattr(refusal, "status", 400)
            return f"{status} {type(refusal).__name__}" if status >= 500 else type(refusal).__name__
        return "taken"

    return take


def _sdp(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    role = list(sdp_offer.PeerRole)[len(data) % 3]
    sdp_offer.parse(text, role)


def _fragment(data: bytes) -> None:
    ice.parse_fragment(data.decode("utf-8", "replace"))


def _body(data: bytes) -> None:
    validation.parse(requests.NewSession, forms.parse_object(data.decode("utf-8", "replace")))


def _message(data: bytes) -> None:
    data_channel.parse(data if len(data) % 2 else data.decode("utf-8", "replace"))


_TOKENS: Final = Tokens("x" * 32, "continuum", 900)


def _token(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    keys.parse(text)
    _TOKENS.read(text)


def _tokens() -> list[bytes]:
    made, _ = _TOKENS.make("0123456789ab", "https://shop.example", "", 900)
    none = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjb250aW51dW0ifQ."
    return [made.encode(), none.encode(), b"ck_0123456789ab_" + b"A" * 43]


def _pictures() -> list[bytes]:
    from PIL import Image

    made = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("WEBP", "RGB")):
        file = io.BytesIO()
        Image.linear_gradient("L").resize((160, 144)).convert(mode).save(file, kind)
        made.append(file.getvalue())
    return made


def _picture(data: bytes) -> str:
    from pipeline.errors import PictureError
    from pipeline.media.image_file import hashed
    from pipeline.media.image_sandbox import load_picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it then refuses
        return _refusing(lambda raw: load_picture(hashed(raw)), PictureError)(data)


def _sounds() -> list[bytes]:
    import av
    import numpy as np

    tone = (np.sin(np.arange(4800) / 9) * 9000).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        out.writeframes(tone.tobytes())
    made = [file.getvalue()]
    for form, codec in (
        ("flac", "flac"),
        ("ogg", "libopus"),
        ("mp3", "libmp3lame"),
        ("mp4", "aac"),
    ):
        target = io.BytesIO()
        with av.open(target, "w", format=form) as container:
            stream: Any = container.add_stream(codec, rate=48_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.int16), "s16", "mono")
            frame.sample_rate = 48_000
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
        made.append(target.getvalue())
    return made


class SoundDoor(Door):
    """Sound files: looked at, then decoded to the end."""

    def __enter__(self) -> Self:
        import av

        av.logging.set_level(None)
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "sound"
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def feed(self, data: bytes) -> str:
        """As ``client.call`` and ``pipeline.render`` read them."""
        from pipeline.errors import AudioError
        from pipeline.media.audio_file import open_audio, speech

        self._path.write_bytes(data)
        try:
            for _ in speech(open_audio(self._path)):
                pass
        except AudioError as refusal:
            return type(refusal).__name__
        return "taken"


class ServerDoor(Door):
    """A path of a server that runs in a process of its own."""

    flags: Sequence[str] = ()

    def __init__(
        self,
        name: str,
        weight: int,
        seeds: Sequence[bytes],
        path: str,
        media_type: str,
        tokens: Sequence[bytes] = WORDS,
        method: str = "POST",
    ) -> None:
        super().__init__(name, weight, seeds, lambda data: "", tokens)
        self._path, self._type, self._method = path, media_type, method
        self._token = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> Self:
        nowhere = str(Path(tempfile.gettempdir()) / f"none-{secrets.token_hex(4)}.sqlite")
        flags = ["--port", "0", "--slots", "50", "--grace-s", "3600", "--drain-s", "0"]
        self._said = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.serve_fake", *flags, *self.flags, "--log-level", "error"],
            env={**os.environ, "CONTINUUM_KEYS": nowhere, "TICK_S": "0"},
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rsplit(":", 1)[1].strip(" /\n"))
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while self._ask("GET", "/readyz", b"", "")[0] != 200:
            pass
        if "{session}" in self._path:
            self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._said.close()

    def complaints(self) -> list[str]:
        self._said.seek(0)
        return self._said.read().split("Traceback (most recent call last):")[1:]

    def _begin(self) -> None:
        _, headers, _ = self._ask("POST", "/v1/calls?avatar=mira", OFFER.encode(), SDP)
        session = headers["Location"].rsplit("/", 1)[1]
        self._path = self._path.replace("{session}", session)
        self._token = headers["Session-Token"]

    def feed(self, data: bytes) -> str:
        """One request; a session that it began is ended."""
        status, headers, body = self._ask(self._method, self._path, data, self._type)
        if status == 201:
            token = headers.get("Session-Token") or json.loads(body)["token"]
            self._ask("DELETE", headers["Location"], b"", "", token)
        return "taken" if status < 400 else str(status)

    def _ask(
        self, method: str, path: str, body: bytes, media_type: str, token: str = ""
    ) -> tuple[int, Any, bytes]:
        headers = {"Content-Type": media_type} if media_type else {}
        if shown := token or self._token:
            headers["Authorization"] = f"Bearer {shown}"
        self._http.request(method, path, body, headers)
        response = self._http.getresponse()
        return response.status, response.headers, response.read()


class RawDoor(ServerDoor):
    """Whole requests as bytes: methods, paths, queries and headers, too."""

    def feed(self, data: bytes) -> str:
        """One connection; the first line of the answer counts."""
        with socket.create_connection(("127.0.0.1", self.port), 60) as raw:
            try:
                raw.sendall(data)
                raw.settimeout(PATIENCE_S)
                answer = raw.recv(64)
            except TimeoutError:
                return "unfinished"
            except ConnectionError:
                return "closed"
        status = answer[9:12].decode("ascii", "replace")
        return "taken" if status < "400" and status else status or "closed"


def _forms() -> list[bytes]:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    rest = part % (b"landmarks", b'{"points": {}}') + part % (b"consent", b"c-1") + b"--x--\r\n"
    return [part % (b"picture", b"\x89PNG") + rest, rest, b"--x--\r\n"]


def _requests() -> list[bytes]:
    rest = b"Host: localhost\r\nConnection: close\r\n"
    bearer = b"Authorization: Bearer c_" + b"A" * 32 + b"\r\n"
    lines = [
        b"GET / HTTP/1.1\r\n",
        b"GET /v1/avatars/mira/picture HTTP/1.1\r\n",
        b"GET /v1/avatars?x=1&y=%ff HTTP/1.1\r\n",
        b"GET /v1/sessions/s-1 HTTP/1.1\r\n" + bearer,
        b"OPTIONS /v1/calls HTTP/1.1\r\nOrigin: http://localhost\r\n",
        b"POST /v1/calls?avatar=mira&seed=1 HTTP/1.1\r\nContent-Type: application/sdp\r\n",
        b"PATCH /v1/sessions/s-1/whip/p HTTP/1.1\r\nContent-Length: 0\r\n" + bearer,
        b"DELETE /v1/sessions/s-1 HTTP/1.1\r\n" + bearer,
        b"GET /../../etc/passwd HTTP/1.1\r\n",
        b"POST /v1/tokens HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n",
    ]
    return [line + rest + b"\r\n" + (b"{}" if b": 2\r\n" in line else b"") for line in lines]


_HEADERS: Final = [
    *WORDS,
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"X-Forwarded-For: 1.2.3.4\r\n",
    b"Origin: http://[::1\r\n",
    b"Host: [\r\n",
    b"Range: bytes=0-\r\n",
    b"If-Modified-Since: x\r\n",
    b"Access-Control-Request-Method: POST\r\n",
    b"Expect: 100-continue\r\n",
    b"%00%ff%2e%2e%2f",
    b"Upgrade: websocket\r\n",
]

ALL: Final[list[Door]] = [
    Door("sdp", 25, [OFFER.encode()], _refusing(_sdp, ServerError), LINES),
    Door("fragment", 20, [TRICKLE.encode()], _refusing(_fragment, ServerError), LINES),
    Door("body", 15, BODIES, _refusing(_body, ServerError)),
    Door("message", 25, MESSAGES, _refusing(_message, data_channel.Refused)),
    Door("token", 8, _tokens, _refusing(_token, ServerError)),
    Door("picture", 6, _pictures, _picture),
    SoundDoor("sound", 5, _sounds, lambda data: ""),
    ServerDoor("calls", 4, [OFFER.encode()], "/v1/calls?avatar=mira", SDP, LINES),
    ServerDoor(
        "trickle", 5, [TRICKLE.encode()], "/v1/sessions/{session}", FRAGMENT, LINES, "PATCH"
    ),
    ServerDoor("sessions", 5, BODIES, "/v1/sessions", "application/json"),
    ServerDoor("forms", 3, _forms(), "/v1/enrolments/preview", FORM, [*WORDS, b"--x", b"--x--"]),
    RawDoor("requests", 7, _requests(), "", "", _HEADERS),
]
