"""Frame rate and step are the model's: calls at other rates, in time and in sync."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from client import latency
from client.latency import Run
from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry
from pipeline.models.wan.model_cards import Recipe, Schedule
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.run_options import RunOptions
from server.avatars.sources import Bundled
from server.media import frame_marker
from server.media.timing import StreamTiming
from server.settings import Settings
from tests.client.conftest import babble
from tests.fakes_server import FakePipeline, FakeSource, Rhythm
from tests.pipeline.models.wan.whole import model
from tests.server.caller import BLOCK, calling, tone
from tests.server.conftest import Served, serving

SIXTEEN = Rhythm(fps=16, step=8, ahead=0)


def read(picture: object) -> frame_marker.FrameMarker | None:
    return frame_marker.read(picture.to_ndarray()[: picture.height])  # type: ignore[attr-defined]


def called(served: Served, seconds: float) -> asyncio.Future[Run]:
    url = str(served.http.make_url("")).rstrip("/")
    return asyncio.ensure_future(latency.run(url, "mira", babble(30), seconds, measure=True))


class TestSixteenFrames:
    @pytest.fixture
    def pipeline(self) -> FakePipeline:
        return FakePipeline(rhythm=SIXTEEN)

    async def test_frames_come_at_the_models_rate(self, served: Served) -> None:
        async with calling(served.http, tone, measure="1") as caller:
            assert (await caller.event("ready"))["fps"] == 16
            await caller.until(lambda: len(caller.pictures) >= 60)
            steps = np.diff([f.pts for _, f in caller.pictures[20:]])
            assert np.median(steps) == 5625, "on a clock of 90 kHz"
            media = [m.media_time for _, f in caller.pictures if (m := read(f))]
            assert len(media) > 50 and not (np.array(media) % 1000).any()
            assert sorted(media) == media

    async def test_what_is_told_follows_the_beat(self, served: Served) -> None:
        told = (await (await served.http.get("/healthz")).json())["model"]
        assert (told["fps"], told["step_ms"]) == (16.0, 500.0)
        async with calling(served.http) as caller:
            quality = await caller.event("quality")
            assert quality["latency_ms"]["wait"] == 500 and quality["delay_ms"] >= 500


@pytest.mark.parametrize("rhythm", [Rhythm(), SIXTEEN, Rhythm(20, 5, 2)])
async def test_sound_and_picture_of_one_moment_leave_together(
    settings: Settings, rhythm: Rhythm
) -> None:
    async with serving(settings, FakePipeline(rhythm=rhythm), FakeSource()) as served:
        for seconds in (5, 10, 20, 40):  # as many as a machine needs that is busy otherwise
            done = await called(served, seconds)
            figures, _, apart = latency.measured(done)
            if len(apart.by_clock) > 20:
                break
        steps = np.diff([picture.rtp for picture in done.trace.seen])
        assert np.median(steps) == 90_000 / rhythm.fps, (
            "the model's rate, however many are left out"
        )
        assert len(apart.by_clock) > 20
        # where the delay does not move just then, as it does when the machine is late
        assert np.percentile(np.abs(apart.by_clock), 10) < 1.0, "ms; Opus alone would be 6.5"
        sent = figures["smoothness"]["frames"]
        assert figures["lost_packets"] <= sent / 100, "of a socket that nobody read in time"


ONE, TWO = Schedule(1, 5.0, "renoise", "float32"), Schedule(2, 5.0, "renoise", "float32")


@pytest.mark.parametrize(
    ("name", "recipe", "schedule", "timing"),
    [
        ("livetalk-1.3b", Recipe("ring", block=2, window=4, sink=2), ONE,
         StreamTiming(1000, 8000, 0)),
        ("avatarforcing-1.3b", Recipe("rolling", block=2, window=6, sink=1), TWO,
         StreamTiming(640, 5120, 5120)),
    ],
    ids=["ring", "rolling"],
)  # fmt: skip
async def test_a_published_checkpoint_is_called_at_its_own_rate(
    settings: Settings,
    tmp_path: Path,
    name: str,
    recipe: Recipe,
    schedule: Schedule,
    timing: StreamTiming,
) -> None:
    """Tiny random weights, from a microphone to a peer's screen."""
    parts = model(name, sizes=((64, 64),), schedule=schedule, recipe=recipe)
    pipeline, registry = WanPipeline(parts, RunOptions()), Registry(tmp_path / "consents.sqlite")
    source = Bundled(pipeline, AvatarCatalog(ConsentGate(registry)))
    try:
        async with serving(settings, pipeline, source) as served:
            assert served.manager.timing == timing
            told = (await (await served.http.get("/healthz")).json())["model"]
            assert "CONFLICT" in told["license"] and told["fps"] == float(timing.fps)
            async with calling(served.http, tone) as caller:
                await caller.until(lambda: len(caller.pictures) > 40, 60)
                pictures = [f for _, f in caller.pictures[20:]]
                assert np.median(np.diff([f.pts for f in pictures])) == 90_000 / float(timing.fps)
                shown = np.stack([f.to_ndarray()[:64] for f in pictures]).astype(int)
                assert np.abs(np.diff(shown, axis=0)).mean() > 0.5, "it moves"
                stamps = np.diff([f.pts for _, f in caller.sounds])
                assert np.median(stamps) == BLOCK
                heard = np.concatenate([f.to_ndarray().ravel() for _, f in caller.sounds[-20:]])
                assert np.abs(heard).max() > 4000
    finally:
        registry.close()
