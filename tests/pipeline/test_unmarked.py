"""From the flag to the pixel: every frame carries the mark, unless an operator said why not.

The real model class (with random weights), the real commands and doors; what is looked at is the
file that was written and the pictures that a caller received.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio
import torch
from aiohttp.test_utils import TestClient, TestServer
from numpy.typing import NDArray

from pipeline import AvatarPipeline
from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry
from pipeline.media.label import Label
from pipeline.media.provenance import ASSERTION, read_manifest
from pipeline.models.mini.config import load_config
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.rig.fit import REF_DIM
from pipeline.render import main
from server.api.app import build
from server.avatars.catalog import Avatars
from server.avatars.sources import Bundled
from server.recordings.provenance import RecordingProvenance
from server.sessions.session_manager import SessionManager
from server.settings import Settings, SettingsError
from tests.fakes_own import FakeOwn
from tests.server.caller import calling, voice

SIZE = 256
PLAIN = Label()
WHY = "shown with a caption of its own, says the newsroom"
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pipeline() -> AvatarPipeline:
    torch.manual_seed(0)
    config = load_config("mini")
    return AvatarPipeline(config, Generator(config, REF_DIM).eval(), "cpu", "a test")


def marked(image: Image, label: Label = PLAIN) -> float:
    """How much the corner looks like the mark: the correlation of its pixels with the mark's."""
    height, width = image.shape[:2]
    left, upper, right, lower = label.box(width, height)
    drawn = label.stamp(np.full_like(image, 128))
    there, pattern = (
        picture[upper:lower, left:right].astype(float).mean(2) for picture in (image, drawn)
    )
    there, pattern = there - there.mean(), pattern - pattern.mean()
    return float((there * pattern).sum() / np.sqrt((there**2).sum() * (pattern**2).sum() + 1e-9))


def removals(registry: Path) -> list[dict[str, Any]]:
    opened = Registry(registry)
    entries = [e.describe() for e in opened.log.entries() if e.action == "label.removed"]
    opened.log.verify()
    opened.close()
    return entries


# -- render ------------------------------------------------------------------------------------


class Studio:
    """The command, in a folder of its own."""

    def __init__(self, folder: Path, pipeline: AvatarPipeline) -> None:
        self._pipeline = pipeline
        self.out, self.registry = folder / "out.mp4", folder / "consents.sqlite"
        self._audio = folder / "speech.wav"
        sound = (8000 * np.sin(np.arange(6400) / 12)).astype("<i2")
        with wave.open(str(self._audio), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(sound.tobytes())

    def run(self, *flags: str) -> int:
        said = {"avatar": "mira", "audio": self._audio, "out": self.out, "registry": self.registry}
        argv = [p for name, value in said.items() for p in (f"--{name}", str(value))]
        argv += ["--width", str(SIZE), "--height", str(SIZE)]
        return main([*argv, *flags], lambda: self._pipeline)

    def frames(self) -> list[Image]:
        with av.open(str(self.out)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    def mark(self) -> str:
        """What the file's manifest says of the mark."""
        manifest = read_manifest(self.out)
        assert manifest is not None
        (said,) = (a["data"] for a in manifest["assertions"] if a["label"].startswith(ASSERTION))
        return str(said["mark"])


@pytest.fixture
def studio(tmp_path: Path, pipeline: AvatarPipeline) -> Studio:
    return Studio(tmp_path, pipeline)


@pytest.mark.timeout(400)  # the first one may have to compile the drawing kernels
@pytest.mark.parametrize(
    ("flags", "label"),
    [
        ((), Label()),
        (("--label-place", "bottom-left"), Label(place="bottom-left")),  # type: ignore[arg-type]
        (("--remove-label", ""), Label()),
    ],
)
def test_a_render_carries_the_mark_in_every_frame(
    studio: Studio, flags: tuple[str, ...], label: Label
) -> None:
    assert studio.run(*flags) == 0
    frames = studio.frames()
    assert len(frames) == 10 and min(marked(frame, label) for frame in frames) > 0.75
    assert studio.mark() == "AI" and removals(studio.registry) == []


@pytest.mark.timeout(400)
def test_a_render_goes_without_on_a_declaration_that_is_audited(studio: Studio) -> None:
    assert studio.run("--remove-label", WHY) == 0
    assert max(abs(marked(frame)) for frame in studio.frames()) < 0.5
    (entry,) = removals(studio.registry)
    assert (entry["actor"], entry["avatar"]) == ("render", "mira")
    assert WHY in entry["detail"]["declaration"]
    assert studio.mark() == WHY, "the file itself says why"


@pytest.mark.parametrize("words", ["because", " " * 40, "x" * 11])
def test_a_render_without_a_reason_makes_no_file(
    studio: Studio, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert studio.run("--remove-label", words) == 2
    assert "--remove-label" in capsys.readouterr().err
    assert not studio.out.exists() and removals(studio.registry) == []


@pytest.mark.timeout(400)
def test_a_render_that_cannot_be_audited_makes_no_file(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: object, action: str, **about: object) -> None:
        if action == "label.removed":
            raise OSError("the audit log cannot be written")

    monkeypatch.setattr("pipeline.consent.audit.AuditLog.record", refuse)
    with pytest.raises(OSError, match="audit log"):
        studio.run("--remove-label", WHY)
    assert not studio.out.exists()


# -- live --------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    base = Settings(
        slots=1,
        drain_s=0.2,
        registry=str(tmp_path / "consents.sqlite"),
        keys=str(tmp_path / "keys.sqlite"),
        video_codecs=("video/VP8",),
        bitrate_min=2_000_000,
        bitrate_start=2_500_000,
    )
    return dataclasses.replace(base, **getattr(request, "param", {}))


@pytest_asyncio.fixture
async def http(settings: Settings, pipeline: AvatarPipeline) -> AsyncIterator[TestClient[Any, Any]]:
    """The server as ``server.bootstrap.open_server`` makes it, around random weights."""
    managers: list[SessionManager] = []
    registry = Registry(settings.registry)

    async def open_server(settings: Settings) -> SessionManager:
        source = Bundled(pipeline, AvatarCatalog(ConsentGate(registry)))
        avatars = Avatars(source, FakeOwn(source))  # type: ignore[arg-type]
        managers.append(SessionManager(settings, pipeline, avatars))
        managers[0].provenance = RecordingProvenance(settings, pipeline, registry)
        return managers[0]

    client = TestClient(TestServer(build(settings, open_server)))
    await client.start_server()
    await asyncio.wait_for(managers[0].settled.wait(), 100)
    yield client
    await client.close()
    registry.close()
    pipeline.label = Label()


async def seen(http: TestClient[Any, Any]) -> list[float]:
    """How marked the pictures are that a caller receives, once the bitrate has settled."""
    async with calling(http, speak=voice) as caller:  # type: ignore[arg-type]
        await caller.until(lambda: len(caller.pictures) >= 20, 60)
        return [marked(frame.to_ndarray(format="rgb24")) for _, frame in caller.pictures[10:20]]


@pytest.mark.timeout(400)
async def test_a_call_carries_the_mark_in_every_picture(
    http: TestClient[Any, Any], settings: Settings
) -> None:
    assert min(await seen(http)) > 0.75
    assert await asyncio.to_thread(removals, Path(settings.registry)) == []


@pytest.mark.timeout(400)
@pytest.mark.parametrize("settings", [{"label_removed": WHY}], indirect=True)
async def test_a_call_goes_without_on_a_declaration_that_is_audited(
    http: TestClient[Any, Any], settings: Settings
) -> None:
    (entry,) = await asyncio.to_thread(removals, Path(settings.registry))
    assert entry["actor"] == "operator" and WHY in entry["detail"]["declaration"]
    assert max(map(abs, await seen(http))) < 0.5


@pytest.mark.parametrize("words", ["because", " " * 40])
def test_a_server_without_a_reason_does_not_start(
    tmp_path: Path, pipeline: AvatarPipeline, words: str
) -> None:
    registry = Registry(tmp_path / "consents.sqlite")
    with pytest.raises(SettingsError, match="say why"):
        RecordingProvenance(Settings(label_removed=words), pipeline, registry)
    registry.close()
    assert removals(tmp_path / "consents.sqlite") == []
    assert not pipeline.label.declaration


def test_the_declaration_reads_the_same_in_log_and_export(tmp_path: Path) -> None:
    class Model:
        label: Label

    registry = Registry(tmp_path / "consents.sqlite")
    RecordingProvenance(Settings(label_removed=WHY), Model(), registry)
    lines = [entry.line() for entry in registry.log.entries()]
    registry.close()
    (line,) = (line for line in lines if "label.removed" in line)
    assert WHY in json.loads(json.loads(line)["detail"])["declaration"]
