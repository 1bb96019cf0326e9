"""``python -m pipeline.dub`` from arguments to file: what it makes, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.avatars import find_avatar
from pipeline.consent import Registry
from pipeline.dub import main
from pipeline.media.provenance import EDITED_TYPE, read_manifest
from pipeline.models.mini.pipeline import AvatarPipeline
from tests.pipeline.dubbing.conftest import WHO, clip, model, talk, words

__all__ = ["clip", "model", "talk", "words"]
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, talk: Path, words: Path, model: AvatarPipeline) -> Run:
    def dub(*options: object, **named: object) -> int:
        given = {
            "video": talk, "audio": words, "out": tmp_path / "out.mp4",
            "consent": find_avatar(WHO).consent().id, "registry": tmp_path / "consents.sqlite",
            "same-person": "the test drew her itself",
        } | named  # fmt: skip
        arguments = [text for name, value in given.items() for text in (f"--{name}", str(value))]
        return main([*arguments, *map(str, options)], lambda: model)

    return dub


def times(path: Path) -> list[float]:
    with av.open(str(path)) as file:
        return [round(float(frame.time or 0), 3) for frame in file.decode(video=0)]


@pytest.mark.parametrize(
    ("form", "turned", "steps"),
    [("yuv420p", 0, (20, 33, 46)), ("yuv420p10le", 0, (40,)), ("yuv420p", 1, (40,))],
)
def test_a_dubbed_video_keeps_times_pixels_and_rotation(
    run: Run, clip: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    form: str, turned: int, steps: tuple[int, ...],
) -> None:  # fmt: skip
    source, out = clip("in.mp4", form, turned, steps), tmp_path / "out.mp4"
    assert run("--json", video=source) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["redrawn_s"] > 0 and result["teeth"] == "model" and result["people"] == 1
    assert times(out) == times(source)
    with av.open(str(out)) as file:
        stream = file.streams.video[0]
        frame = next(file.decode(stream))
        assert (stream.pix_fmt, frame.rotation) == (form, 90 * turned)
    manifest = read_manifest(out)
    assert manifest is not None and EDITED_TYPE in json.dumps(manifest)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"video": "none.mp4"}, "does not exist"),
        ({"audio": "none.wav"}, "does not exist"),
        ({"start": 9}, "are no part of a video"),
        ({"person": 3}, "1 found"),
        ({"consent": "nobody"}, "no consent record"),
        ({"consent": find_avatar("amara").consent().id}, "nobody in"),
        ({"same-person": "trust me"}, "no face model"),
        ({"model": "other"}, "bundled model alone"),
    ],
)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    options: dict[str, object], said: str,
) -> None:  # fmt: skip
    assert run(**options) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*part"))


def test_a_video_cut_off_or_without_a_face_is_refused(
    run: Run, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.mov"
    cut.write_bytes(talk.read_bytes()[:3000])
    assert run(video=cut) == 2
    assert "cannot be read as video" in capsys.readouterr().err
    blank = tmp_path / "blank.mov"
    with av.open(str(blank), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 90, np.uint8), "rgb24")
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    assert run(video=blank) == 2
    assert "shows no face" in capsys.readouterr().err


def test_a_revoked_consent_refuses(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = Registry(tmp_path / "consents.sqlite")
    avatar = find_avatar(WHO)
    record = registry.add(avatar.consent(), picture=avatar.picture())
    registry.revoke(record.id)
    registry.close()
    assert run() == 2
    assert "revoked" in capsys.readouterr().err
