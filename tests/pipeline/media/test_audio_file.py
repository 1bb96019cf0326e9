"""Reading sound: what comes out lasts as long as what went in, whatever the container."""

from __future__ import annotations

import ctypes
import gc
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import (
    AudioEmpty,
    AudioMissing,
    AudioNotFinite,
    AudioTruncated,
    AudioUnreadable,
)
from pipeline.media.audio_file import SPEECH_RATE, blocks, check_duet, duet, open_audio, speech


def tone(seconds: float, rate: int, hertz: float = 220.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype("f4")


def encode(
    path: Path,
    mono: NDArray[np.float32],
    rate: int,
    codec: str = "pcm_s16le",
    layout: str = "mono",
    **options: str,
) -> Path:
    """Writes the same sound to every channel of a file of any codec."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        channels = av.AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.stack([mono] * channels), "fltp", layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for converted in [*resampler.resample(frame), None]:
            container.mux(stream.encode(converted))
    return path


def heard(path: Path) -> NDArray[np.float32]:
    return np.concatenate(list(speech(open_audio(path))))


@pytest.mark.parametrize(
    ("rate", "layout"),
    [(8_000, "mono"), (11_025, "mono"), (16_000, "mono"), (44_100, "stereo"), (192_000, "5.1")],
)
def test_any_rate_and_channel_count_keeps_duration_and_pitch(
    tmp_path: Path, rate: int, layout: str
) -> None:
    out = heard(encode(tmp_path / "a.wav", tone(1.0, rate), rate, layout=layout))
    assert out.shape == (SPEECH_RATE,) and out.dtype == np.float32
    assert np.argmax(np.abs(np.fft.rfft(out))) == 220
    assert 0.1 < np.abs(out).max() <= 1.0


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.m4a", "aac"), ("a.ogg", "libopus")],
)
def test_compressed_speech_keeps_its_duration(tmp_path: Path, name: str, codec: str) -> None:
    out = heard(encode(tmp_path / name, tone(2.0, 48_000), 48_000, codec))
    assert abs(len(out) - 2 * SPEECH_RATE) < 0.03 * SPEECH_RATE


def test_a_click_stays_where_it_was(tmp_path: Path) -> None:
    sound = np.zeros(44_100, np.float32)
    sound[22_050:22_060] = 0.9
    out = heard(encode(tmp_path / "a.wav", sound, 44_100))
    assert abs(int(np.abs(out).argmax()) - SPEECH_RATE // 2) <= 4


def test_blocks_are_bounded_and_join_to_the_whole(tmp_path: Path) -> None:
    audio = open_audio(encode(tmp_path / "a.wav", tone(1.0, 48_000), 48_000))
    small, large = list(speech(audio, 999)), list(speech(audio, 10**9))
    assert {len(part) for part in small[:-1]} == {999} and len(small[-1]) == 16_000 % 999
    np.testing.assert_array_equal(np.concatenate(small), np.concatenate(large))


def test_two_speakers_are_kept_apart_by_their_channels(tmp_path: Path) -> None:
    both = np.stack([tone(1.5, 48_000), tone(1.5, 48_000, 660.0)])
    path = tmp_path / "both.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2), out.setsampwidth(2), out.setframerate(48_000)
        out.writeframes((both.T * 32767).astype("<i2").tobytes())
    audio = open_audio(path)
    check_duet(audio)
    parts = list(duet(audio))
    assert [part.shape for part in parts] == [(16_000, 2), (8_000, 2)]
    heard = np.concatenate(parts)
    for channel, hertz in enumerate((220, 660)):
        strength = np.abs(np.fft.rfft(heard[:16_000, channel]))
        assert strength.argmax() == hertz and strength[880 - hertz] < 0.01 * strength[hertz]


def test_a_file_without_two_channels_is_no_duet(tmp_path: Path) -> None:
    audio = open_audio(encode(tmp_path / "one.wav", tone(0.5, 16_000), 16_000))
    with pytest.raises(AudioUnreadable, match="1 channel, two speakers need two"):
        check_duet(audio)


def test_an_hour_is_read_lazily(tmp_path: Path) -> None:
    hour = tmp_path / "hour.wav"
    with wave.open(str(hour), "wb") as file:
        file.setparams((1, 2, 8_000, 0, "NONE", ""))
        for _ in range(3_600):
            file.writeframes(b"\0" * 16_000)
    audio = open_audio(hour)
    assert audio.duration_s == pytest.approx(3_600)
    source = speech(audio)
    assert [len(next(source)) for _ in range(3)] == [SPEECH_RATE] * 3
    source.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("rate", [8_000, 48_000, 192_000])
def test_a_single_sample_is_still_sound(tmp_path: Path, rate: int) -> None:
    out = heard(encode(tmp_path / "a.wav", np.full(1, 0.5, np.float32), rate))
    assert len(out) == -(-SPEECH_RATE // rate)


def test_silence_is_sound(tmp_path: Path) -> None:
    out = heard(encode(tmp_path / "a.wav", np.zeros(16_000, np.float32), SPEECH_RATE))
    assert len(out) == SPEECH_RATE and not out.any()


def test_clipping_and_offset_survive(tmp_path: Path) -> None:
    loud = np.clip(4 * tone(0.5, SPEECH_RATE) + 0.4, -4, 4)
    out = heard(encode(tmp_path / "a.wav", loud, SPEECH_RATE, "pcm_f32le"))
    assert out.max() == 1.0 and out.min() > -1.0
    assert out.mean() > 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_samples_that_are_no_numbers_are_refused_with_their_position(
    tmp_path: Path, bad: float, layout: str
) -> None:
    sound = tone(2.0, SPEECH_RATE)
    sound[24_000] = bad
    path = encode(tmp_path / "a.wav", sound, SPEECH_RATE, "pcm_f32le", layout)
    with pytest.raises(AudioNotFinite, match=r"at 1\.500 s"):
        heard(path)


def test_a_stereo_copy_for_the_sound_track_keeps_both_channels(tmp_path: Path) -> None:
    audio = open_audio(encode(tmp_path / "a.wav", tone(1.0, 44_100), 44_100, layout="stereo"))
    assert sum(part.shape[1] for part in blocks(audio, 48_000, "stereo")) == 48_000
    assert next(blocks(audio, 48_000, "stereo")).shape[0] == 2


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.wav", tmp_path):
        with pytest.raises(AudioMissing, match=str(path)):
            open_audio(path)


def test_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    with pytest.raises(AudioEmpty):
        open_audio(tmp_path / "a.wav")
    with wave.open(str(tmp_path / "b.wav"), "wb") as file:
        file.setparams((1, 2, SPEECH_RATE, 0, "NONE", ""))
    with pytest.raises(AudioEmpty):
        heard(tmp_path / "b.wav")


def test_files_that_are_no_sound_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("Dear diary, today I was mistaken for a recording. " * 50)
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(1).bytes(5_000))
    video = tmp_path / "silent.mp4"
    with av.open(str(video), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
        for item in (frame, None):
            container.mux(stream.encode(item))
    for path in (tmp_path / "a.wav", tmp_path / "noise.wav", video):
        with pytest.raises(AudioUnreadable, match=path.name):
            open_audio(path)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac")]
)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_read_as_far_as_it_goes_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, codec: str, kept: float
) -> None:
    front = {"movflags": "faststart"} if name == "a.m4a" else {}
    path = encode(tmp_path / name, tone(5.0, 48_000), 48_000, codec, **front)
    data = path.read_bytes()
    begins = data.index({"a.m4a": b"mdat", "a.flac": b"\xff\xf8"}.get(name, b"data"))
    path.write_bytes(data[: begins + int((len(data) - begins) * kept)])
    assert open_audio(path).duration_s is None
    assert "was cut off" in caplog.text and "what is there is read" in caplog.text
    assert len(heard(path)) / SPEECH_RATE == pytest.approx(5.0 * kept, abs=0.3)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.wav", "pcm_s16le"), ("a.flac", "flac"), ("a.m4a", "aac")]
)
def test_a_file_that_was_cut_off_before_its_sound_is_refused_before_any_work(
    tmp_path: Path, name: str, codec: str
) -> None:
    path = encode(tmp_path / name, tone(5.0, 48_000), 48_000, codec)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises((AudioTruncated, AudioUnreadable)):
        open_audio(path)


def test_an_mp4_without_the_index_at_its_end_is_refused_as_cut_off(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.m4a", tone(5.0, 48_000), 48_000, "aac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(AudioTruncated, match="copy or export it again"):
        open_audio(path)


def test_a_wav_written_to_a_pipe_has_no_stated_length_and_is_read(tmp_path: Path) -> None:
    path = encode(tmp_path / "a.wav", tone(1.0, SPEECH_RATE), SPEECH_RATE)
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert len(heard(path)) == SPEECH_RATE


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "a.m3u8"
    path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioUnreadable):
        open_audio(path)


class Heap(ctypes.Structure):
    """What glibc's ``mallinfo2`` tells; ``used`` are the bytes that are not free."""

    _fields_ = (
        ("before", ctypes.c_size_t * 7),
        ("used", ctypes.c_size_t),
        ("after", ctypes.c_size_t * 2),
    )


def test_damaged_files_leave_no_memory_behind(tmp_path: Path) -> None:
    heap = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if heap is None:
        pytest.skip("not glibc")
    heap.restype = Heap
    path = encode(tmp_path / "a.mp3", tone(1.0, 48_000), 48_000, "libmp3lame")
    whole = path.read_bytes()
    half = len(whole) // 2
    path.write_bytes(whole[:half] + bytes(400) + whole[half + 400 :])

    def read(times: int) -> int:
        for _ in range(times):
            assert len(heard(path)) == pytest.approx(SPEECH_RATE, abs=0.06 * SPEECH_RATE)
        gc.collect()
        return int(heap().used)

    used = [read(150) for _ in range(5)]
    assert min(np.diff(used)) / 150 < 60, "a packet of each file, in every round"
