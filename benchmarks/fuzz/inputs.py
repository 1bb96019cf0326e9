"""Whole inputs that fuzzing begins with, and tokens that it puts into them."""

from __future__ import annotations

import io
import wave
from typing import Any, Final

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
HEADERS: Final = [
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


def pictures() -> list[bytes]:
    from PIL import Image

    made = []
    for kind, mode in (("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("WEBP", "RGB")):
        file = io.BytesIO()
        Image.linear_gradient("L").resize((160, 144)).convert(mode).save(file, kind)
        made.append(file.getvalue())
    return made


def sounds() -> list[bytes]:
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


def form_bodies() -> list[bytes]:
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    rest = part % (b"landmarks", b'{"points": {}}') + part % (b"consent", b"c-1") + b"--x--\r\n"
    return [part % (b"picture", b"\x89PNG") + rest, rest, b"--x--\r\n"]


def whole_requests() -> list[bytes]:
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
