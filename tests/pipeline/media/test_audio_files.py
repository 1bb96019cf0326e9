"""What plays in a player is read: containers, codecs, odd forms and damage, each against truth."""

from __future__ import annotations

import random
import struct
import wave
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from pipeline.errors import AudioEmpty, AudioError, AudioUnreadable
from pipeline.media.audio_file import SPEECH_RATE, blocks, open_audio, speech

F32 = NDArray[np.float32]
S = 2.4  # seconds of sound in each file
DELAY_S = 0.03  # by which a file may be off; frames of raw streams are counted besides


def voice(rate: int, seconds: float = S) -> F32:
    """Syllables of rising pitch: no two moments are alike."""
    t = np.arange(round(seconds * rate)) / rate
    pitch = 120 * t + 60 * t**2
    tone = sum(np.sin(2 * np.pi * k * pitch) / k for k in (1, 2, 3, 4))
    return (0.2 * tone * (0.55 + 0.45 * np.sin(2 * np.pi * 3.1 * t**1.2))).astype(np.float32)


def write(
    path: Path,
    sound: F32,
    rate: int,
    codec: str,
    options: Mapping[str, str] = {},
    kind: str | None = None,
    start: int = 0,
    holes: Callable[[int], int] = lambda sample: 0,
    bit_rate: int | None = None,
) -> Path:
    """``sound`` (C, n) as a file; timestamps begin at ``start`` and jump by ``holes``."""
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(sound)]
    with av.open(str(path), "w", format=kind, options=dict(options)) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if bit_rate:
            stream.bit_rate = bit_rate
        context = stream.codec_context
        context.open()
        form, size = context.format.name, context.frame_size or 1024
        convert = av.AudioResampler(form, layout, rate, frame_size=size)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for piece in [*convert.resample(frame), *convert.resample(None)]:
            piece.pts = int(piece.pts or 0) + start + holes(int(piece.pts or 0))
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> F32:
    return np.concatenate(list(speech(open_audio(path))))


def alike(found: F32, truth: F32) -> tuple[float, float]:
    """How far ``found`` lies behind ``truth`` in seconds, and how alike they are there."""
    size = 1 << (len(found) + len(truth)).bit_length()
    both = np.fft.irfft(np.fft.rfft(found, size) * np.fft.rfft(truth, size).conj(), size)
    at = int(both.argmax())
    scale = np.linalg.norm(found) * np.linalg.norm(truth) + 1e-9
    return (at if at < size // 2 else at - size) / SPEECH_RATE, float(both[at] / scale)


CODECS = [  # file, codec, rate, likeness at least, samples of delay and padding that players keep
    ("u8.wav", "pcm_u8", 16_000, 0.99, 0),
    ("s16.wav", "pcm_s16le", 44_100, 0.999, 0),
    ("s24.wav", "pcm_s24le", 48_000, 0.999, 0),
    ("s32.wav", "pcm_s32le", 96_000, 0.999, 0),
    ("float.wav", "pcm_f32le", 22_050, 0.999, 0),
    ("double.wav", "pcm_f64le", 32_000, 0.999, 0),
    ("alaw.wav", "pcm_alaw", 8_000, 0.99, 0),
    ("mulaw.wav", "pcm_mulaw", 8_000, 0.99, 0),
    ("ima.wav", "adpcm_ima_wav", 8_000, 0.98, 2_041),
    ("ima44.wav", "adpcm_ima_wav", 44_100, 0.98, 2_041),
    ("ms.wav", "adpcm_ms", 11_025, 0.98, 1_012),
    ("yamaha.wav", "adpcm_yamaha", 22_050, 0.98, 1_024),
    ("slow.wav", "pcm_s16le", 7_999, 0.999, 0),
    ("odd.wav", "pcm_s16le", 44_056, 0.999, 0),
    ("fast.wav", "pcm_s16le", 192_000, 0.999, 0),
    ("a.w64", "pcm_s16le", 16_000, 0.999, 0),
    ("a.aiff", "pcm_s16be", 44_100, 0.999, 0),
    ("a.au", "pcm_s16be", 16_000, 0.999, 0),
    ("a.caf", "pcm_s16be", 16_000, 0.999, 0),
    ("a.voc", "pcm_u8", 8_000, 0.99, 0),
    ("a.mp3", "libmp3lame", 44_100, 0.98, 0),
    ("low.mp3", "libmp3lame", 16_000, 0.98, 0),
    ("a.mp2", "mp2", 48_000, 0.98, 1_632),
    ("a.flac", "flac", 44_100, 0.999, 0),
    ("a.m4a", "aac", 44_100, 0.98, 0),
    ("low.m4a", "aac", 8_000, 0.9, 0),
    ("alac.m4a", "alac", 44_100, 0.999, 0),
    ("a.aac", "aac", 44_100, 0.98, 2_048),
    ("a.mov", "aac", 48_000, 0.98, 0),
    ("pcm.mov", "pcm_s16be", 48_000, 0.999, 0),
    ("a.ogg", "libopus", 48_000, 0.95, 0),
    ("a.webm", "libopus", 48_000, 0.95, 0),
    ("a.mka", "libopus", 48_000, 0.95, 0),
    ("mp3.mkv", "libmp3lame", 44_100, 0.98, 0),
    ("a.ac3", "ac3", 48_000, 0.97, 1_536),
    ("a.eac3", "eac3", 48_000, 0.97, 1_536),
    ("a.ts", "aac", 48_000, 0.98, 2_048),
    ("a.wma", "wmav2", 44_100, 0.97, 4_096),
    ("a.avi", "pcm_s16le", 44_100, 0.999, 0),
    ("a.tta", "tta", 44_100, 0.999, 0),
    ("a.wv", "wavpack", 44_100, 0.999, 0),
    ("a.amr", "libopencore_amrnb", 8_000, 0.6, 160),
    ("a.g722", "g722", 16_000, 0.95, 320),
]


@pytest.mark.parametrize(("name", "codec", "rate", "like", "padded"), CODECS)
def test_every_container_and_codec_keeps_length_and_content(
    tmp_path: Path, name: str, codec: str, rate: int, like: float, padded: int
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    bit_rate = {"libopencore_amrnb": 12_200, "wmav2": 96_000}.get(codec)
    found = heard(write(tmp_path / name, voice(rate)[None], rate, codec, bit_rate=bit_rate))
    early = DELAY_S + (padded / rate if codec == "wmav2" else 0)  # its decoder drops the first
    longer, (delay, likeness) = len(found) / SPEECH_RATE - S, alike(found, voice(SPEECH_RATE))
    assert -early < longer < DELAY_S + padded / rate
    assert -early < delay < DELAY_S + padded / rate and likeness > like


@pytest.mark.parametrize("vbr", [False, True])
@pytest.mark.parametrize("front", ["id3", "garbage"])
def test_mp3s_with_tags_or_garbage_in_front_are_read(tmp_path: Path, vbr: bool, front: str) -> None:
    path = write(tmp_path / "a.mp3", voice(44_100)[None], 44_100, "libmp3lame",
                 bit_rate=None if vbr else 64_000)  # fmt: skip
    before = b"ID3\x03\0\0\0\0\x10\0" + bytes(2048)
    if front == "garbage":
        before = random.Random(5).randbytes(3_000).replace(b"\xff", b"\0")
    path.write_bytes(before + path.read_bytes())
    found = heard(path)
    assert abs(len(found) / SPEECH_RATE - S) < 0.1  # without its index the delay stays
    assert alike(found, voice(SPEECH_RATE))[1] > 0.97


def test_joined_mp3s_play_one_after_the_other(tmp_path: Path) -> None:
    part = write(tmp_path / "a.mp3", voice(22_050)[None], 22_050, "libmp3lame").read_bytes()
    (tmp_path / "three.mp3").write_bytes(part * 3)
    found = heard(tmp_path / "three.mp3")
    assert abs(len(found) / SPEECH_RATE - 3 * S) < 0.2  # each keeps its encoder's delay
    for k in range(3):
        there = found[round(k * S * SPEECH_RATE) :][: round(S * SPEECH_RATE)]
        assert alike(there, voice(SPEECH_RATE))[1] > 0.9


def test_chained_ogg_files_are_read_to_their_end(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / f"{k}.ogg", voice(48_000)[None], 48_000, "libopus").read_bytes()
        for k in range(2)
    ]
    (tmp_path / "chain.ogg").write_bytes(b"".join(parts))
    assert abs(len(heard(tmp_path / "chain.ogg")) / SPEECH_RATE - 2 * S) < 0.05


def test_fragmented_mp4_is_read_even_when_its_last_fragment_is_cut(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "400000"}
    path = write(tmp_path / "a.mp4", voice(44_100)[None], 44_100, "aac", options)
    assert abs(len(heard(path)) / SPEECH_RATE - S) < DELAY_S + 1024 / 44_100
    path.write_bytes(path.read_bytes()[:-3_000])
    found = heard(path)
    assert S - 1.0 < len(found) / SPEECH_RATE < S
    assert alike(found, voice(SPEECH_RATE))[1] > 0.85


def with_channels(path: Path, sound: NDArray[np.int16], rate: int = 16_000) -> Path:
    """A WAV of (n, C) samples, however many channels there are."""
    with wave.open(str(path), "wb") as file:
        file.setparams((sound.shape[1], 2, rate, 0, "NONE", ""))
        file.writeframes(np.ascontiguousarray(sound, "<i2").tobytes())
    return path


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 9, 13, 24, 64])
@pytest.mark.parametrize("spread", ["one", "all"])
def test_any_number_of_channels_is_mixed(tmp_path: Path, count: int, spread: str) -> None:
    mono = (voice(16_000) * 20_000).astype(np.int16)
    sound = np.zeros((len(mono), count), np.int16)
    sound[:, slice(None) if spread == "all" else count - 1] = mono[:, None] if (
        spread == "all") else mono  # fmt: skip
    audio = open_audio(with_channels(tmp_path / "a.wav", sound))
    found = np.concatenate(list(speech(audio)))
    assert alike(found, voice(SPEECH_RATE))[1] > 0.97
    assert np.sqrt((found**2).mean()) > 0.25 * np.sqrt((voice(SPEECH_RATE) ** 2).mean())
    track = np.concatenate(list(blocks(audio, 48_000, "stereo")), axis=1)
    assert track.shape == (2, round(S * 48_000)) and track.any()


def test_planes_beyond_the_eighth_are_read_where_they_lie(tmp_path: Path) -> None:
    path = tmp_path / "many.ogg"
    with av.open(str(path), "w") as container:
        options = {"mapping_family": "255"}
        stream = container.add_stream("libopus", rate=48_000, layout="16 channels", options=options)
        stream.codec_context.open()
        size = stream.codec_context.frame_size
        sound = np.zeros((48_000 // size * size, 16), np.float32)
        sound[:, 12] = voice(48_000)[: len(sound)]
        for at in range(0, len(sound), size):
            flat = sound[at : at + size].reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(flat, "flt", "16 channels")
            frame.sample_rate, frame.pts = 48_000, at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert alike(heard(path), voice(SPEECH_RATE, 1.0))[1] > 0.9


def test_channels_that_are_opposite_do_not_cancel(tmp_path: Path) -> None:
    mono = (voice(16_000) * 20_000).astype(np.int16)
    found = heard(with_channels(tmp_path / "a.wav", np.stack([mono, -mono], 1)))
    truth = voice(SPEECH_RATE) * 20_000 / 32_768
    assert max(alike(found, truth)[1], alike(-found, truth)[1]) > 0.97
    assert np.abs(found).max() == pytest.approx(np.abs(truth).max(), rel=0.1)


@pytest.mark.parametrize("name", ["a.m4a", "a.mkv"])
@pytest.mark.parametrize("default", [0, 1, 2])
def test_the_track_that_is_marked_default_is_heard(tmp_path: Path, name: str, default: int) -> None:
    rate, path = 44_100, tmp_path / name
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("aac", rate=rate, layout="mono") for _ in range(3)]
        for k, stream in enumerate(streams):
            stream.disposition = Disposition.default if k == default else Disposition(0)
            stream.codec_context.open()
        for at in range(0, rate * 2, 1024):
            for k, stream in enumerate(streams):
                t = np.arange(at, at + 1024) / rate
                tone = (0.3 * np.sin(2 * np.pi * 300 * (k + 1) * t)).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(tone[None], "fltp", "mono")
                frame.sample_rate, frame.pts = rate, at
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    found = heard(path)[:SPEECH_RATE]
    assert int(np.abs(np.fft.rfft(found)).argmax()) == pytest.approx(300 * (default + 1), abs=2)


@pytest.mark.parametrize("name", ["a.mkv", "a.m4a", "a.ogg"])
@pytest.mark.parametrize("gap_s", [0.2, 1.0, 5.0])
def test_a_gap_in_timestamps_is_silence_of_that_length(
    tmp_path: Path, name: str, gap_s: float, caplog: pytest.LogCaptureFixture
) -> None:
    half, codec = round(S / 2 * 48_000), "aac" if name == "a.m4a" else "libopus"
    path = write(
        tmp_path / name, voice(48_000)[None], 48_000, codec,
        holes=lambda at: round(gap_s * 48_000) if at >= half else 0,
    )  # fmt: skip
    found = heard(path)
    assert len(found) / SPEECH_RATE == pytest.approx(S + gap_s, abs=DELAY_S)
    quiet = np.abs(found[: len(found) // 160 * 160].reshape(-1, 160)).max(1) < 0.01  # 10 ms each
    longest = max(len(run) for run in "".join("01"[int(q)] for q in quiet).split("0"))
    assert longest / 100 == pytest.approx(gap_s, abs=0.1)
    assert "missing between timestamps" in caplog.text


def test_a_clock_that_jumps_by_days_is_no_silence(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mkv", voice(48_000)[None], 48_000, "libopus",
        holes=lambda at: 3 * 86_400 * 48_000 if at >= 48_000 else 0,
    )  # fmt: skip
    assert len(heard(path)) / SPEECH_RATE == pytest.approx(S, abs=DELAY_S)


@pytest.mark.parametrize("start_s", [-0.5, 0.7, 3_600.0])
@pytest.mark.parametrize("name", ["a.mkv", "a.m4a", "a.ts"])
def test_where_timestamps_begin_does_not_matter(tmp_path: Path, name: str, start_s: float) -> None:
    if name == "a.m4a" and start_s < 0:
        pytest.skip("its edit list says that what lies before zero is not played")
    path = write(tmp_path / name, voice(48_000)[None], 48_000, "aac", start=round(start_s * 48_000))
    found = heard(path)
    assert len(found) / SPEECH_RATE == pytest.approx(S, abs=DELAY_S + 2_048 / 48_000)
    assert alike(found, voice(SPEECH_RATE))[1] > 0.97


def test_a_sample_rate_that_changes_on_the_way_keeps_length_and_pitch(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / f"{rate}.aac", voice(rate)[None], rate, "aac", kind="adts").read_bytes()
        for rate in (44_100, 22_050)
    ]
    (tmp_path / "both.aac").write_bytes(b"".join(parts))
    found = heard(tmp_path / "both.aac")
    assert len(found) / SPEECH_RATE == pytest.approx(2 * S, abs=0.2)
    assert alike(found[-round(S * SPEECH_RATE) :], voice(SPEECH_RATE))[1] > 0.9


def spoilt(path: Path, at: float, count: int) -> Path:
    """The file with ``count`` bytes from the share ``at`` of it on turned into zeros."""
    data = bytearray(path.read_bytes())
    begin = int(at * len(data))
    data[begin : begin + count] = bytes(min(count, len(data) - begin))
    path.write_bytes(data)
    return path


def broken(path: Path, packets: Callable[[int, int], bool]) -> Path:
    """An MP4 whose packets k of n are no longer what a decoder understands."""
    with av.open(str(path)) as container:
        spans = [(p.pos, p.size) for p in container.demux(audio=0) if p.size and p.pos is not None]
    data = bytearray(path.read_bytes())
    for k, (at, size) in enumerate(spans):
        if packets(k, len(spans)):
            data[at : at + size] = b"\xff" * size
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("name", "codec", "count"), [("a.mp3", "libmp3lame", 700), ("a.ac3", "ac3", 900)]
)
def test_damage_in_a_raw_stream_is_silence_and_said(
    tmp_path: Path, name: str, codec: str, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / name, voice(48_000)[None], 48_000, codec)
    whole = len(heard(path))
    found = heard(spoilt(path, 0.5, count))
    assert len(found) / SPEECH_RATE == pytest.approx(whole / SPEECH_RATE, abs=0.05)
    quarter = round(S / 4 * SPEECH_RATE)
    assert alike(found[:quarter], voice(SPEECH_RATE)[:quarter])[1] > 0.95
    assert caplog.text.count("WARNING") == 1 and "cannot be decoded" in caplog.text


@pytest.mark.parametrize("first", [0, 40, 100])
def test_packets_that_cannot_be_decoded_are_silence_where_they_were(
    tmp_path: Path, first: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.m4a", voice(44_100)[None], 44_100, "aac")
    whole = heard(path)
    found = heard(broken(path, lambda k, n: first <= k < first + 20))
    assert abs(len(found) - len(whole)) < DELAY_S * SPEECH_RATE
    lost = slice(round((first + 2) * 1024 / 44_100 * SPEECH_RATE),
                 round((first + 17) * 1024 / 44_100 * SPEECH_RATE))  # fmt: skip
    if first:
        assert np.abs(found[lost]).max() < 0.01
        before = slice(0, lost.start - SPEECH_RATE // 10)
        assert alike(found[before], whole[before]) == (0.0, pytest.approx(1.0, abs=1e-3))
    assert caplog.text.count("WARNING") == 1 and "cannot be decoded" in caplog.text


def test_damage_of_a_container_is_a_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    short = {"cluster_time_limit": "150"}
    path = write(tmp_path / "a.mkv", voice(48_000)[None], 48_000, "libmp3lame", short)
    assert len(heard(spoilt(path, 0.5, 700))) / SPEECH_RATE == pytest.approx(S, abs=0.05)
    assert caplog.text.count("WARNING") == 1


def test_what_is_wrong_is_said_once_however_often_a_file_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.mp3", voice(48_000)[None], 48_000, "libmp3lame")
    audio = open_audio(spoilt(path, 0.5, 700))
    for _ in range(3):
        list(speech(audio))
    assert caplog.text.count("cannot be decoded") == 1


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp3", "libmp3lame"), ("a.wav", "pcm_s16le"), ("a.aac", "aac")]
)
def test_garbage_behind_the_sound_is_left_alone(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, voice(44_100)[None], 44_100, codec)
    whole = len(heard(path))
    path.write_bytes(path.read_bytes() + random.Random(3).randbytes(40_000))
    assert len(heard(path)) / SPEECH_RATE == pytest.approx(whole / SPEECH_RATE, abs=0.1)


def test_a_file_that_is_more_broken_than_whole_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.m4a", voice(44_100)[None], 44_100, "aac")
    broken(path, lambda k, n: k > 0.3 * n)
    with pytest.raises(AudioUnreadable, match=r"s of it cannot be decoded, .* s can"):
        heard(path)


@pytest.mark.parametrize("missing", [1, 40, 2_000])
def test_a_wav_that_lacks_a_moment_at_its_end_is_read(tmp_path: Path, missing: int) -> None:
    path = write(tmp_path / "a.wav", voice(16_000)[None], 16_000, "pcm_s16le")
    path.write_bytes(path.read_bytes()[:-missing])
    assert len(heard(path)) / SPEECH_RATE == pytest.approx(S - missing / 32_000, abs=0.001)


@pytest.mark.parametrize(("name", "codec"), [("a.aiff", "pcm_s16be"), ("i.wav", "adpcm_ima_wav")])
def test_a_cut_is_proved_by_the_bytes_that_a_header_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str
) -> None:
    path = write(tmp_path / name, voice(44_100)[None], 44_100, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    open_audio(path)
    assert "announces" in caplog.text
    assert len(heard(path)) / SPEECH_RATE == pytest.approx(S / 2, abs=0.1)


def test_headers_alone_and_nothing_at_all_are_refused_in_a_line(tmp_path: Path) -> None:
    for name, codec in (("a.mp3", "libmp3lame"), ("a.ogg", "libopus"), ("a.m4a", "aac")):
        path = write(tmp_path / name, voice(48_000)[None], 48_000, codec)
        path.write_bytes(path.read_bytes()[:60])
        with pytest.raises(AudioError):
            heard(path)
        path.write_bytes(b"")
        with pytest.raises(AudioEmpty):
            heard(path)


def test_a_rate_that_no_sound_has_is_refused_in_a_line(tmp_path: Path) -> None:
    path = with_channels(tmp_path / "a.wav", np.ones((1_600, 1), np.int16))
    data = bytearray(path.read_bytes())
    for rate in (0, 2**31 - 1):
        data[24:28] = struct.pack("<I", rate)
        path.write_bytes(data)
        with pytest.raises(AudioError):
            heard(path)
