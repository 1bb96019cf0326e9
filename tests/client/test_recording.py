"""A recording plays what came, together where the sender's clock puts it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from client.receive import Picture, SenderClock, Sound
from client.recording import Recording

NTP = 2_208_988_800


def picture(index: int, bright: int) -> Picture:
    image = np.full((128, 128, 3), bright, np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    return Picture(900_000 + index * 3600, 50 + index / 25, 50 + index / 25, 100, frame)


def sound(block: int, loud: bool) -> Sound:
    wave = 12_000 * np.sin(2 * np.pi * 440 * np.arange(960) / 48_000) * loud
    return Sound(77_000 + block * 960, 50 + block / 50, 80, wave.astype(np.int16))


def test_a_flash_and_a_beep_of_one_moment_stay_together(tmp_path: Path) -> None:
    video, audio = SenderClock(90_000), SenderClock(48_000)
    recording = Recording(tmp_path / "out.mp4", video, audio)
    for block in range(150):
        if block % 2 == 0:
            recording.picture(picture(block // 2, 240 if block // 2 == 50 else 20))
        if block not in (30, 31):  # lost
            recording.sound(sound(block, 100 <= block < 104))
        if block == 60:  # reports come late, and say that picture 0 belongs with block 0
            video.report((NTP + 500) << 32, 900_000)
            audio.report((NTP + 500) << 32, 77_000)
    recording.close()
    assert recording.begun and recording.left_out == 0
    flash, beep = [], []
    with av.open(str(tmp_path / "out.mp4")) as file:
        for frame in file.decode(video=0):
            if frame.to_ndarray(format="gray").mean() > 128:
                flash.append(float(frame.time))
    with av.open(str(tmp_path / "out.mp4")) as file:
        for heard in file.decode(audio=0):
            if np.abs(heard.to_ndarray()).max() > 0.2:
                beep.append(float(heard.time))
    assert len(flash) == 1 and abs(flash[0] - 2.0) < 0.001
    assert abs(min(beep) - 2.0) < 0.03


def test_without_a_picture_there_is_no_file(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "out.mp4", SenderClock(90_000), SenderClock(48_000))
    recording.sound(sound(0, True))
    recording.close()
    assert not recording.begun and not (tmp_path / "out.mp4").exists()
