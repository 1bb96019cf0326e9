"""Offers as known clients build them, from how they behave in public; keys and names invented.

``OFFERS`` names each one: the door it is for, and its text. What differs between clients is what
trips an answerer: order and number of sections, where the transport is said, codecs, line ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

SHA256 = "sha-256 " + ":".join(f"{n * 7 % 256:02X}" for n in range(32))
SHA384 = "sha-384 " + ":".join(f"{n * 5 % 256:02X}" for n in range(48))
SHA512 = "sha-512 " + ":".join(f"{n * 3 % 256:02X}" for n in range(64))
SHA1 = "sha-1 " + ":".join(f"{n * 11 % 256:02X}" for n in range(20))
HOST = "candidate:1 1 udp 2122260223 127.0.0.1 50999 typ host"
MDNS = "candidate:2 1 udp 2122194687 6f1c7d52-9d2f-4b0e-8d58-2f6a0a6f5a11.local 50998 typ host"
V6 = "candidate:3 1 udp 2122197247 2001:db8::7 50997 typ host"
TCP = "candidate:4 1 tcp 1518280447 127.0.0.1 9 typ host tcptype active"
RTCP = "candidate:1 2 udp 2122260222 127.0.0.1 51000 typ host"
RELAY = "candidate:5 1 udp 41885439 198.51.100.4 50996 typ relay raddr 127.0.0.1 rport 50999"

OPUS = ("rtpmap:111 opus/48000/2", "fmtp:111 minptime=10;useinbandfec=1")
STEREO = ("rtpmap:111 opus/48000/2", "fmtp:111 stereo=1;sprop-stereo=1;maxplaybackrate=48000")
RED = ("rtpmap:63 red/48000/2", "fmtp:63 111/111")
PHONE = ("rtpmap:9 G722/8000", "rtpmap:0 PCMU/8000", "rtpmap:8 PCMA/8000", "rtpmap:13 CN/8000")
DTMF = ("rtpmap:110 telephone-event/48000", "rtpmap:126 telephone-event/8000", "fmtp:126 0-15")
VP8 = ("rtpmap:96 VP8/90000", "rtcp-fb:96 nack", "rtcp-fb:96 nack pli", "rtcp-fb:96 goog-remb")
RTX = ("rtpmap:97 rtx/90000", "fmtp:97 apt=96")
VP9 = ("rtpmap:98 VP9/90000", "fmtp:98 profile-id=0", "rtpmap:99 rtx/90000", "fmtp:99 apt=98")
AV1 = ("rtpmap:45 AV1/90000", "fmtp:45 level-idx=5;profile=0;tier=0")
H265 = ("rtpmap:49 H265/90000", "fmtp:49 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST")
FEC = ("rtpmap:121 red/90000", "rtpmap:122 ulpfec/90000", "rtpmap:123 flexfec-03/90000")


def h264(payload: int, profile: str = "42e01f", mode: int = 1) -> tuple[str, ...]:
    said = f"level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}"
    return (f"rtpmap:{payload} H264/90000", f"fmtp:{payload} {said}")


CHROME_AUDIO = (*OPUS, *RED, *PHONE, *DTMF)
CHROME_VIDEO = (*VP8, *RTX, *VP9, *AV1, *H265, *h264(102), *h264(106, "640c1f"), *FEC)
SAFARI_VIDEO = (*h264(100, "640c1f"), *h264(102), *H265, *VP8, *RTX, *VP9)
EXTENSIONS = (
    "extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "extmap:2 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid",
)
FIREFOX_EXTENSIONS = (
    "extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "extmap:2/recvonly urn:ietf:params:rtp-hdrext:csrc-audio-level",
    "extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid",
)
SIMULCAST = ("rid:h send", "rid:m send", "rid:l send", "simulcast:send h;m;l")


@dataclass(frozen=True)
class Part:
    """One section to be."""

    kind: str
    direction: str
    codecs: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    port: int = 9
    protocol: str = "UDP/TLS/RTP/SAVPF"
    formats: str = ""
    mid: str | None = ""
    ufrag: str = "bT2u"
    setup: str = "actpass"
    prints: tuple[str, ...] = (SHA256,)
    transport: bool = True
    mux: bool = True

    def lines(self, mid: str | None) -> list[str]:
        payloads = " ".join(
            line[7:].split()[0] for line in self.codecs if line.startswith("rtpmap:")
        )
        text = self.formats or payloads
        found = [f"m={self.kind} {self.port} {self.protocol} {text}", "c=IN IP4 0.0.0.0"]
        found += [f"a=mid:{mid}"] if mid is not None else []
        found += [f"a={self.direction}"] if self.direction else []
        if self.transport:
            found += transport(self.ufrag, self.setup, self.prints)
        if self.mux and self.kind != "application":
            found += ["a=rtcp-mux"]
        return found + [f"a={line}" for line in (*self.codecs, *self.more)]


def transport(ufrag: str, setup: str, prints: Iterable[str]) -> list[str]:
    ice = [f"a=ice-ufrag:{ufrag}", "a=ice-pwd:bT2passwordbT2passwordbT2", "a=ice-options:trickle"]
    said = [f"a=setup:{setup}"] if setup else []
    return [*ice, *(f"a=fingerprint:{value}" for value in prints), *said]


def offer(
    *parts: Part,
    bundle: str | None = "all",
    head: Iterable[str] = (),
    ending: str = "\r\n",
) -> str:
    mids = [f"{n}" if part.mid == "" else part.mid for n, part in enumerate(parts)]
    group = " ".join(m for m in mids if m is not None) if bundle == "all" else bundle
    lines = ["v=0", "o=- 4611731400430051336 2 IN IP4 127.0.0.1", "s=-", "t=0 0"]
    lines += [f"a=group:BUNDLE {group}"] if group else []
    lines += head
    for part, mid in zip(parts, mids, strict=True):
        lines += part.lines(mid)
    return ending.join(lines) + ending


MIC = Part("audio", "sendrecv", CHROME_AUDIO, EXTENSIONS)
CAMERA = Part("video", "sendrecv", CHROME_VIDEO, EXTENSIONS)
SCREEN = Part("video", "recvonly", CHROME_VIDEO, EXTENSIONS)
CHANNEL = Part(
    "application",
    "",
    protocol="UDP/DTLS/SCTP",
    formats="webrtc-datachannel",
    more=("sctp-port:5000", "max-message-size:262144"),
)
LEGACY = replace(
    CHANNEL, protocol="DTLS/SCTP", formats="5000", more=("sctpmap:5000 webrtc-datachannel 1024",)
)
LISTEN = replace(MIC, direction="recvonly")
FEED = Part("audio", "sendonly", OPUS)
FEED_VIDEO = Part("video", "sendonly", VP8)
OBS_AUDIO = Part("audio", "sendonly", STEREO, ("ssrc:1000 cname:feeder", "msid:feed a"))
FIREFOX_MIC = Part("audio", "sendrecv", (*OPUS, *PHONE), FIREFOX_EXTENSIONS, mid="0")


def bare(part: Part) -> Part:
    """As a bundle-only section is offered (RFC 8829, section 5.2.1)."""
    return replace(part, port=0, transport=False, mux=False, more=(*part.more, "bundle-only"))


def at_session(setup: str = "actpass", prints: Iterable[str] = (SHA256,)) -> list[str]:
    return transport("bT2u", setup, prints)


def obs(*video: str) -> str:
    """libdatachannel in OBS: the transport is said once, for the session."""
    sound = replace(OBS_AUDIO, transport=False)
    sight = Part("video", "sendonly", video, ("ssrc:1001 cname:feeder",), transport=False)
    return offer(sound, sight, head=["a=group:LS 0 1", "a=msid-semantic:WMS *", *at_session()])


def named(part: Part, mid: str | None) -> Part:
    return replace(part, mid=mid)


CALLS: dict[str, Callable[[], str]] = {
    "chrome": lambda: offer(MIC, SCREEN, CHANNEL),
    "chrome, data channel negotiated first": lambda: offer(CHANNEL, MIC, SCREEN),
    "chrome, video first": lambda: offer(SCREEN, MIC, CHANNEL),
    "chrome, video first, channel second": lambda: offer(SCREEN, CHANNEL, MIC),
    "chrome, group in another order": lambda: offer(MIC, SCREEN, CHANNEL, bundle="2 1 0"),
    "chrome, max-bundle": lambda: offer(MIC, bare(SCREEN), bare(CHANNEL)),
    "chrome, max-bundle by the channel": lambda: offer(CHANNEL, bare(MIC), bare(SCREEN)),
    "chrome, max-compat": lambda: offer(
        MIC, replace(SCREEN, ufrag="bT2v"), replace(CHANNEL, ufrag="bT2w"), bundle=None
    ),
    "chrome, each its own ufrag": lambda: offer(
        MIC, replace(SCREEN, ufrag="bT2v"), replace(CHANNEL, ufrag="bT2w")
    ),
    "chrome, a stopped camera": lambda: offer(
        MIC, replace(CAMERA, port=0, direction="inactive"), SCREEN, CHANNEL, bundle="0 2 3"
    ),
    "chrome, a stopped camera that keeps its direction and group": lambda: offer(
        replace(CAMERA, port=0), MIC, SCREEN, CHANNEL
    ),
    "chrome, stopped sections have no transport": lambda: offer(
        Part("audio", "inactive", PHONE[1:2], port=0, transport=False), MIC, SCREEN, bundle="1 2"
    ),
    "chrome, simulcast": lambda: offer(
        MIC, replace(CAMERA, more=(*EXTENSIONS, *SIMULCAST)), CHANNEL
    ),
    "chrome, red preferred": lambda: offer(
        replace(MIC, formats="63 111 9 0 8 13 110 126"), SCREEN
    ),
    "chrome, candidates in the offer": lambda: offer(
        replace(MIC, more=(*EXTENSIONS, HOST, TCP, V6, RTCP, RELAY, "end-of-candidates")), SCREEN
    ),
    "chrome, mDNS alone": lambda: offer(
        replace(MIC, more=(*EXTENSIONS, MDNS, "end-of-candidates")), SCREEN
    ),
    "chrome, codecs of the low range": lambda: offer(
        MIC, Part("video", "recvonly", (*AV1, "rtpmap:35 VP8/90000", *h264(36)))
    ),
    "chrome, mixed extension headers": lambda: offer(
        replace(MIC, more=(*EXTENSIONS, "extmap:18 urn:example:wide", "extmap-allow-mixed")), SCREEN
    ),
    "firefox": lambda: offer(
        FIREFOX_MIC, replace(SCREEN, more=FIREFOX_EXTENSIONS), CHANNEL,
        head=["a=sendrecv", "a=ice-options:trickle", "a=msid-semantic:WMS *"],
    ),
    "firefox, fingerprint for the session": lambda: offer(
        replace(MIC, prints=()), replace(SCREEN, prints=()), replace(CHANNEL, prints=()),
        head=[f"a=fingerprint:{SHA256}"],
    ),
    "firefox, bundle-only": lambda: offer(FIREFOX_MIC, bare(SCREEN), bare(CHANNEL)),
    "firefox, a channel of another name": lambda: offer(MIC, SCREEN, named(CHANNEL, "data-1")),
    "safari": lambda: offer(MIC, Part("video", "recvonly", SAFARI_VIDEO, EXTENSIONS), CHANNEL),
    "safari, microphone and voice apart": lambda: offer(
        replace(MIC, direction="sendonly"), LISTEN, SCREEN, CHANNEL
    ),
    "safari, no direction": lambda: offer(
        replace(MIC, direction=""), replace(CAMERA, direction="")
    ),
    "pipecat": lambda: offer(MIC, CAMERA, CAMERA, CHANNEL),
    "pipecat, screen not shared": lambda: offer(
        MIC, CAMERA, replace(CAMERA, direction="inactive"), CHANNEL
    ),
    "livekit, channels first": lambda: offer(CHANNEL, named(MIC, "1"), SCREEN, CAMERA),
    "livekit, three of each": lambda: offer(CHANNEL, MIC, MIC, MIC, CAMERA, CAMERA, CAMERA),
    "aiortc": lambda: offer(
        Part("audio", "sendrecv", ("rtpmap:96 opus/48000/2", *PHONE[:3]), EXTENSIONS[3:]),
        Part("video", "recvonly", ("rtpmap:97 VP8/90000", "rtpmap:98 rtx/90000", "fmtp:98 apt=97")),
        CHANNEL,
        head=["a=msid-semantic:WMS *"],
    ),
    "aiortc, sha-384 and sha-512": lambda: offer(
        replace(MIC, prints=(SHA256, SHA384, SHA512)), replace(SCREEN, prints=(SHA512,))
    ),
    "wrtc": lambda: offer(MIC, SCREEN, CHANNEL, head=["a=extmap-allow-mixed", "a=msid-semantic:"]),
    "werift": lambda: offer(
        Part("audio", "sendrecv", ("rtpmap:96 opus/48000/2",), EXTENSIONS[3:]),
        Part("video", "recvonly", VP8),
        CHANNEL,
    ),
    "werift, unbundled": lambda: offer(
        replace(MIC, ufrag="aUd1"), replace(SCREEN, ufrag="vId1"), bundle=None
    ),
    "libdatachannel": lambda: offer(
        named(MIC, "audio"), named(SCREEN, "video"), named(CHANNEL, "data"),
        head=["a=msid-semantic:WMS *", *at_session()],
    ),
    "libdatachannel, channel first": lambda: offer(
        named(CHANNEL, "data"), named(MIC, "audio"), named(SCREEN, "video")
    ),
    "webrtcbin": lambda: offer(
        named(Part("audio", "sendrecv", OPUS, ("rtcp-rsize", "ptime:20", "maxptime:60")), "audio0"),
        named(Part("video", "recvonly", VP8, ("rtcp-rsize", "framerate:25")), "video1"),
        named(CHANNEL, "application2"),
    ),
    "an old phone: legacy data channel": lambda: offer(MIC, SCREEN, LEGACY),
    "no mids, no bundle": lambda: offer(named(MIC, None), named(SCREEN, None), bundle=None),
    "lines end in LF": lambda: offer(MIC, SCREEN, CHANNEL, ending="\n"),
    "shouted codec names": lambda: offer(
        Part("audio", "sendrecv", ("rtpmap:111 OPUS/48000/2",)),
        Part("video", "recvonly", ("rtpmap:96 vp8/90000",)),
    ),
    "static payload types without rtpmap": lambda: offer(
        Part("audio", "sendrecv", formats="0 8"), SCREEN
    ),
    "passive": lambda: offer(replace(MIC, setup="passive"), replace(SCREEN, setup="passive")),
    "active": lambda: offer(replace(MIC, setup="active"), replace(SCREEN, setup="active")),
    "no setup": lambda: offer(replace(MIC, setup=""), replace(SCREEN, setup="")),
    "ice-lite": lambda: offer(replace(MIC, more=(HOST,)), SCREEN, head=["a=ice-lite"]),
    "sha-1 beside sha-256": lambda: offer(replace(MIC, prints=(SHA1, SHA256)), SCREEN),
    "a gateway: RTP/SAVPF": lambda: offer(
        replace(MIC, protocol="RTP/SAVPF"), replace(SCREEN, protocol="UDP/TLS/RTP/SAVP")
    ),
    "text beside sound": lambda: offer(
        MIC, SCREEN, Part("text", "sendrecv", ("rtpmap:98 t140/1000",)), bundle="0 1"
    ),
    "a second channel, and a message section": lambda: offer(
        MIC, SCREEN, CHANNEL, CHANNEL,
        Part("message", "", protocol="TCP/MSRP", formats="*"), bundle="0 1 2 3",
    ),
    "feedback and formats of nobody": lambda: offer(
        replace(MIC, more=("rtcp-fb:77 nack", "fmtp:88 x=y", "rtcp-fb:* nack", "candidate:odd")),
        replace(SCREEN, more=("fmtp:96 max-fr=sixty", "ssrc:x", "ssrc-group:FID x", "extmap:one")),
    ),
    "a parameter without its value": lambda: offer(
        MIC,
        Part("video", "recvonly", ("rtpmap:102 H264/90000", "fmtp:102 packetization-mode", *VP8)),
    ),
    "ports and addresses said": lambda: offer(
        replace(MIC, port=50999, more=("rtcp:51000 IN IP4 127.0.0.1", HOST)),
        replace(SCREEN, port=50999),
    ),
}  # fmt: skip
FEEDS: dict[str, Callable[[], str]] = {
    "obs, H.264 high": lambda: obs(*h264(96, "640c1f")),
    "obs, H.264 baseline": lambda: obs(*h264(96)),
    "obs, HEVC": lambda: obs("rtpmap:96 H265/90000"),
    "obs, AV1": lambda: obs("rtpmap:96 AV1/90000"),
    "obs, VP9": lambda: obs("rtpmap:96 VP9/90000"),
    "obs, unbundled": lambda: offer(OBS_AUDIO, replace(FEED_VIDEO, ufrag="vId1"), bundle=None),
    "whipclientsink": lambda: offer(
        named(replace(FEED, more=("rtcp-rsize", "ssrc:1 cname:user", "extmap:1 urn:x")), "audio0"),
        named(Part("video", "sendonly", h264(96, "42c015"), ("rtcp-rsize",)), "video1"),
    ),
    "whipclientsink, video first": lambda: offer(
        named(FEED_VIDEO, "video0"), named(FEED, "audio1")
    ),
    "simple-whip-client": lambda: offer(
        named(FEED, "audio0"), named(FEED_VIDEO, "video1"), head=["a=ice-options:trickle"]
    ),
    "ffmpeg's muxer": lambda: offer(
        Part("audio", "sendonly", ("rtpmap:111 opus/48000/2",), ("ssrc:7 cname:FFmpeg",),
             setup="passive"),
        Part("video", "sendonly", h264(106), setup="passive"),
        head=["a=extmap-allow-mixed", "a=msid-semantic: WMS"],
    ),
    "PyAV's muxer, sound alone": lambda: offer(
        Part("audio", "sendonly", ("rtpmap:111 opus/48000/2",), setup="active")
    ),
    "an encoder, video first, its own ufrag": lambda: offer(
        FEED_VIDEO, replace(FEED, ufrag="aUd1"), bundle=None
    ),
    "a telephone: PCMU": lambda: offer(Part("audio", "sendonly", formats="0")),
    "a telephone: PCMA": lambda: offer(Part("audio", "sendonly", ("rtpmap:8 PCMA/8000",))),
    "a telephone: G.722": lambda: offer(Part("audio", "sendrecv", ("rtpmap:9 G722/8000",))),
    "mono": lambda: offer(Part("audio", "sendonly", (OPUS[0], "fmtp:111 stereo=0;ptime=10"))),
    "sendrecv": lambda: offer(replace(FEED, direction="sendrecv")),
    "a stopped microphone, then a live one": lambda: offer(
        replace(FEED, direction="inactive"), FEED
    ),
}  # fmt: skip
VIEWS: dict[str, Callable[[], str]] = {
    "chrome": lambda: offer(LISTEN, SCREEN),
    "chrome, video first": lambda: offer(SCREEN, LISTEN),
    "chrome, mDNS": lambda: offer(replace(LISTEN, more=(MDNS,)), SCREEN),
    "AV1 and sound": lambda: offer(LISTEN, Part("video", "recvonly", AV1)),
    "AV1 first, sound behind it": lambda: offer(Part("video", "recvonly", AV1), bare(LISTEN)),
    "sound in codecs of nobody": lambda: offer(
        Part("audio", "recvonly", ("rtpmap:110 speex/16000",)), SCREEN
    ),
    "video alone": lambda: offer(SCREEN),
    "sound alone": lambda: offer(LISTEN),
    "two screens": lambda: offer(LISTEN, SCREEN, SCREEN),
    "whepsrc": lambda: offer(
        named(Part("video", "recvonly", h264(96)), "video0"),
        named(Part("audio", "recvonly", OPUS), "audio1"),
    ),
    "direction for the session": lambda: offer(
        replace(LISTEN, direction=""), replace(SCREEN, direction=""), head=["a=recvonly"]
    ),
    "unbundled": lambda: offer(LISTEN, replace(SCREEN, ufrag="vId1"), bundle=None),
}
OFFERS: dict[str, tuple[str, Callable[[], str]]] = {
    f"{door}: {name}": (door, make)
    for door, made in (("call", CALLS), ("whip", FEEDS), ("whep", VIEWS))
    for name, make in made.items()
}
