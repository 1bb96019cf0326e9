"""Writing video files: complete and in step, or not there at all."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import (
    BackgroundInvalid,
    OutputFolderMissing,
    OutputFull,
    OutputSizeInvalid,
    OutputUnwritable,
)
from pipeline.media.audio_file import blocks, open_audio
from pipeline.media.video_file import VideoWriter, check_size

ROOT = Path(__file__).parents[3]
RED, GREEN = (220, 30, 40), (20, 200, 90)


def halves() -> NDArray[np.uint8]:
    image = np.empty((64, 96, 3), np.uint8)
    image[:, :48], image[:, 48:] = RED, GREEN
    return image


def write(path: Path, frames: int = 50, flash: int | None = None, layout: str = "mono") -> None:
    """Two coloured halves; at ``flash`` one white frame with one click."""
    channels = av.AudioLayout(layout).nb_channels
    with VideoWriter(path, 96, 64, layout) as out:
        for index in range(frames):
            image, sound = halves(), np.zeros((channels, 1_920), np.float32)
            if index == flash:
                image[:], sound[:, :96] = 255, 0.9
            out.video(image)
            out.audio(sound)


def pictures(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def test_every_frame_comes_back_once_at_25_per_second(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    times = [frame.time for frame in pictures(tmp_path / "a.mp4")]
    np.testing.assert_allclose(np.asarray(times, float), np.arange(50) / 25, atol=1e-6)


def test_colours_come_back(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4")
    image = pictures(tmp_path / "a.mp4")[10].to_ndarray(format="rgb24").astype(int)
    assert np.abs(image[32, 20] - RED).max() <= 4
    assert np.abs(image[32, 80] - GREEN).max() <= 4


@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_picture_and_sound_are_in_step(tmp_path: Path, layout: str) -> None:
    path = tmp_path / "a.mp4"
    write(path, flash=25, layout=layout)
    flashes = [f.time for f in pictures(path) if f.to_ndarray(format="gray").mean() > 240]
    sound = np.concatenate(list(blocks(open_audio(path), 48_000, layout)), axis=1)
    click = int((np.abs(sound) > 0.3).any(axis=0).argmax()) / 48_000
    assert flashes == [1.0]
    assert click == pytest.approx(1.0, abs=0.002)


def test_the_file_is_h264_and_aac_and_starts_with_its_index(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.audio[0].codec_context.name == "aac"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_nothing_stands_under_the_real_name_before_it_is_complete(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 96, 64) as out:
        out.video(halves())
        assert not (tmp_path / "a.mp4").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_file_leaves_nothing_and_spares_the_old_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    (tmp_path / "a.mp4").write_bytes(b"yesterday's")
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", 96, 64) as out:
        out.video(halves())
        raise error
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"yesterday's"


def test_a_folder_that_is_missing_or_in_the_way_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputFolderMissing, match="nowhere"),
        VideoWriter(tmp_path / "nowhere" / "a.mp4", 64, 64),
    ):
        pass
    (tmp_path / "a.mp4").mkdir()
    with pytest.raises(OutputUnwritable), VideoWriter(tmp_path / "a.mp4", 64, 64):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("step", ["mux", "close"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(f"av.container.OutputContainer.{step}", full, raising=True)
    with (
        pytest.raises(OutputFull, match="no space left"),
        VideoWriter(tmp_path / "a.mp4", 96, 64) as out,
    ):
        out.video(halves())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "height"), [(511, 512), (512, 333), (32, 64), (64, 8192)])
def test_sizes_that_h264_cannot_carry_are_refused(width: int, height: int) -> None:
    with pytest.raises(OutputSizeInvalid, match=f"{width}x{height}"):
        check_size(width, height)


def test_a_frame_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"\(64, 64, 3\).*\(64, 96, 3\)"),
        VideoWriter(tmp_path / "a.mp4", 96, 64) as out,
    ):
        out.video(np.zeros((64, 64, 3), np.uint8))


def test_a_disk_that_really_refuses_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel refuses bytes beyond a limit, as a full disk does, in the middle of encoding."""
    code = """
import resource, sys
from pathlib import Path
import numpy as np
from pipeline.errors import OutputFull
from pipeline.media.video_file import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 255, (128, 128, 3), dtype=np.uint8)
try:
    with VideoWriter(Path(sys.argv[1]), 128, 128) as out:
        for k in range(400):
            out.video(np.roll(noise, 7 * k, 0))
except OutputFull:
    sys.exit(9)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "a.mp4")]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 9
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "decoder"), [("a.webm", "libvpx-vp9"), ("a.mov", "prores")])
def test_a_matte_comes_back(tmp_path: Path, name: str, decoder: str) -> None:
    matte = np.zeros((64, 96), np.uint8)
    matte[:, 48:] = 255
    with VideoWriter(tmp_path / name, 96, 64, transparent=True) as out:
        for _ in range(5):
            out.video(halves(), matte)
            out.audio(np.zeros((1, 1_920), np.float32))
    context, shown = av.CodecContext.create(decoder, "r"), []
    with av.open(str(tmp_path / name)) as file:
        context.extradata = file.streams.video[0].codec_context.extradata
        context.codec_tag = file.streams.video[0].codec_context.codec_tag
        for packet in file.demux(video=0):
            shown += context.decode(packet)
        assert len(file.streams.audio) == 1
    last = shown[-1].to_ndarray(format="rgba").astype(int)
    assert len(shown) == 5 and last[:, :40, 3].max() < 8 and last[:, 56:, 3].min() > 247
    assert np.abs(last[32, 80, :3] - GREEN).max() <= 6


def test_h264_carries_no_matte(tmp_path: Path) -> None:
    with pytest.raises(BackgroundInvalid, match=r"write a.webm"):
        VideoWriter(tmp_path / "a.mp4", 96, 64, transparent=True)
