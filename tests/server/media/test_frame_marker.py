"""The measuring strip survives what happens to pictures on their way."""

from fractions import Fraction

import numpy as np
import pytest

from server.media import frame_marker
from server.media.encoders import Converter, VideoEncoder
from server.media.frame_marker import FrameMarker


def noise(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (size, size, 3)).astype(np.uint8)


def test_the_checksum_is_the_documented_one() -> None:
    assert frame_marker.crc16(b"123456789") == 0x29B1


@pytest.mark.parametrize("size", [256, 384, 512, 720])
def test_a_mark_reads_back_as_it_was_drawn(size: int) -> None:
    image = noise(size)
    mark = FrameMarker(
        media_time=0xDEADBEEF,
        rtp_timestamp=0x01234567,
        flags=frame_marker.SOURCE | frame_marker.SPEECH,
    )
    frame_marker.draw(image, mark)
    assert frame_marker.read(image[..., 0]) == mark


def test_a_picture_without_a_strip_has_no_mark() -> None:
    assert frame_marker.read(noise(512)[..., 0]) is None
    assert frame_marker.read(np.zeros((64, 64), np.uint8)) is None


def test_one_flipped_block_is_noticed() -> None:
    image = noise(512)
    frame_marker.draw(image, FrameMarker(640, 960, 1))
    luma = image[..., 0].copy()
    luma[-48:-32, 16:32] = 255 - luma[-48:-32, 16:32]
    assert frame_marker.read(luma) is None


def test_frames_too_narrow_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="256 .* 128"):
        frame_marker.draw(noise(128), FrameMarker(0, 0, 0))


def test_the_strip_survives_vp8_at_a_low_bitrate() -> None:
    import av

    encoder = VideoEncoder("video/VP8", 300_000, Fraction(25))
    decoder = av.CodecContext.create("libvpx", "r")
    seen, convert = [], Converter()
    for index in range(30):
        image = np.roll(noise(512) // 2, index * 7, axis=1)
        frame_marker.draw(image, FrameMarker(index * 640, index * 1920, frame_marker.SOURCE))
        packet = encoder.encode(convert(image), index * 3600, index == 0)
        assert packet is not None
        seen += [frame_marker.read(f.to_ndarray()[:512]) for f in decoder.decode(packet)]
    assert [m.media_time for m in seen if m] == [i * 640 for i in range(30)]
