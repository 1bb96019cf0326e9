"""What the programs in ``examples/`` promise is what they do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import find_avatar
from pipeline.media.audio_file import open_audio
from tests.e2e.conftest import ROOT, serving
from tests.pipeline.test_render import write_wav

pytestmark = pytest.mark.timeout(180)
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wav(tmp_path_factory.mktemp("speech") / "speech.wav", seconds=3.0)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving("-m", "tests.serve_fake", "--slots", "3", "--drain-s", "1", TICK_S="0.02") as url:
        yield url


def run(*command: object, **environ: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True, text=True, timeout=150, cwd=ROOT, env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_call_from_a_file_counts_pictures_and_utterances(server: str, speech: Path) -> None:
    said = run(sys.executable, EXAMPLES / "call_from_file.py", speech, "--url", server,
               PYTHONPATH=str(ROOT))  # fmt: skip
    found = re.fullmatch(r"(\d+) pictures, (\d+) utterances\n", said)
    assert found is not None and int(found[1]) > 60


def test_an_agent_learns_how_much_was_heard(server: str, tmp_path: Path) -> None:
    long = write_wav(tmp_path / "long.wav", seconds=6.0)
    said = run(sys.executable, EXAMPLES / "agent.py", long, "--url", server,
               PYTHONPATH=str(ROOT))  # fmt: skip
    found = re.search(r"heard (\d+) ms\ninterrupted after (\d+) ms\n$", said)
    assert found is not None and int(found[1]) == 6000 and 900 < int(found[2]) < 6000


def test_latency_is_measured(server: str, speech: Path) -> None:
    said = run(sys.executable, EXAMPLES / "measure_latency.py", speech, "--url", server,
               "--seconds", "4", PYTHONPATH=str(ROOT))  # fmt: skip
    found = re.fullmatch(r"microphone to picture: (\d+) / (\d+) ms\n", said)
    assert found is not None and 0 < int(found[1]) <= int(found[2])


def test_frames_reach_the_callers_own_code(tmp_path: Path, speech: Path) -> None:
    said = run(sys.executable, EXAMPLES / "render_frames.py", speech, tmp_path / "frames",
               "--registry", tmp_path / "consents.sqlite", PYTHONPATH=str(ROOT))  # fmt: skip
    assert said == "75 frames\n"
    shown = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in shown] == ["00000.png", "00025.png", "00050.png"]
    first, last = (np.asarray(Image.open(path)).astype(int) for path in (shown[0], shown[-1]))
    assert first.shape == (512, 512, 3) and np.abs(first - last).max() > 20, "somebody moves"


def test_a_picture_of_ones_own_speaks(tmp_path: Path, speech: Path) -> None:
    picture = tmp_path / "me.jpg"
    shutil.copy(find_avatar("omar").reference, picture)
    out = tmp_path / "me.mp4"
    run("sh", EXAMPLES / "own_picture.sh", picture, "Ada Example", speech, out,
        PYTHON=sys.executable, REGISTRY=str(tmp_path / "consents.sqlite"))  # fmt: skip
    assert open_audio(out).duration_s == pytest.approx(3.0, abs=0.1)


def test_a_model_of_ones_own_renders_and_follows_the_voice(tmp_path: Path, speech: Path) -> None:
    out = tmp_path / "glow.mp4"
    run(sys.executable, EXAMPLES / "custom_model.py", "--avatar", "mira", "--audio", speech,
        "--out", out, "--registry", tmp_path / "consents.sqlite", PYTHONPATH=str(ROOT))  # fmt: skip
    with av.open(str(out)) as file:
        light = [float(frame.to_ndarray(format="gray").mean()) for frame in file.decode(video=0)]
    assert len(light) == 75 and max(light) > 1.3 * min(light)
