"""Recordings: what was seen and heard, as a file that plays, whatever ended it."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from server.api.middleware import RECORDINGS
from server.errors import ConsentRequired
from server.recordings.recorder import (
    PARTIAL,
    Recorder,
    Seal,
    finish,
    leftovers,
)
from server.recordings.recordings import Recordings
from server.recordings.store import LOCK
from server.recordings.tape import Tape
from server.recordings.tape_writer import MAX_PICTURES, MAX_SOUNDS
from server.settings import Settings
from tests.server.caller import calling, voice
from tests.server.conftest import Served

FRAME, BLOCK = 640, 320
ORIGIN = {"model": "fake", "avatar": "mira", "consent_sha256": "ab" * 32, "mark": "AI"}
ROOT = Path(__file__).resolve().parents[3]


def unsigned(origin: dict[str, str], path: Path) -> None:
    assert origin == ORIGIN and path.exists()


def recover(folder: Path, seal: Seal) -> list[Path]:
    """As a server does that starts in this folder."""
    found = [finish(partial, seal) for partial in leftovers(folder)]
    return [path for path in found if path is not None]


def picture(shade: int, size: int = 128) -> av.VideoFrame:
    pixels = np.full((size, size, 3), shade % 256, np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


def feed(recorder: Recorder, seconds: float, first: int = 0) -> None:
    """Sound and pictures as fast as they are written, so that none is left out."""
    for at in range(first, first + int(seconds * 16_000), BLOCK):
        while recorder._queue.qsize() > 20 and recorder._thread.is_alive():
            time.sleep(0.001)
        recorder.sound(at, np.full(960, 3000, np.int16))
        if at % FRAME == 0:
            recorder.picture(at, picture(at // FRAME))


def played(path: Path) -> tuple[int, float, float]:
    """Pictures, and the seconds of picture and of sound that decode."""
    with av.open(str(path)) as file:
        shown = [float(f.pts * f.time_base) for f in file.decode(video=0)]
    with av.open(str(path)) as file:
        heard = sum(f.samples for f in file.decode(audio=0)) / 48_000
    return len(shown), shown[-1] - shown[0] + 0.04 if shown else 0.0, heard


def test_pictures_and_sound_keep_their_places(tmp_path: Path) -> None:
    partial = tmp_path / f"a{PARTIAL}"
    recorder = Recorder(partial, ORIGIN)
    feed(recorder, 2.0, first=100 * FRAME)
    recorder.close()
    assert recorder.pictures == 50 and recorder.left_out == 0
    final = finish(partial, unsigned)
    assert final == tmp_path / "a.mp4" and not partial.exists()
    pictures, shown, heard = played(final)
    assert pictures == 50 and shown == pytest.approx(2.0, abs=0.05)
    assert heard == pytest.approx(2.0, abs=0.05)


def test_what_was_not_sent_is_silence_and_sizes_may_change(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / f"a{PARTIAL}", ORIGIN)
    feed(recorder, 0.5)
    recorder.picture(16_000, picture(7, size=64))  # the governor has made pictures smaller
    recorder.sound(16_000, np.full(960, 3000, np.int16))
    recorder.close()
    final = finish(recorder.path, unsigned)
    assert final is not None
    pictures, shown, heard = played(final)
    assert pictures == 14 and shown == pytest.approx(1.04, abs=0.05)
    assert heard == pytest.approx(1.02, abs=0.05)


def test_an_encoder_that_is_too_slow_leaves_pictures_out_and_never_waits(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / f"a{PARTIAL}", ORIGIN)
    large = picture(90, size=512)
    started = time.perf_counter()
    for at in range(0, 400 * FRAME, FRAME):
        recorder.picture(at, large)
    assert time.perf_counter() - started < 1.0
    recorder.close()
    assert recorder.pictures + recorder.left_out == 400


def test_what_waits_for_the_encoder_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, began = threading.Event(), threading.Event()
    encode = Tape.picture

    def held_up(tape: Tape, at: int, shown: av.VideoFrame) -> None:
        began.set()
        assert go.wait(20)
        encode(tape, at, shown)

    monkeypatch.setattr(Tape, "picture", held_up)
    recorder, shown = Recorder(tmp_path / f"a{PARTIAL}", ORIGIN), picture(90)
    recorder.picture(0, shown)
    assert began.wait(20)
    for at in range(FRAME, (MAX_PICTURES + 26) * FRAME, FRAME):
        recorder.picture(at, shown)
    assert recorder.left_out == 25
    for at in range(0, 2 * MAX_SOUNDS * BLOCK, BLOCK):
        recorder.sound(at, np.zeros(960, np.int16))
    assert recorder._queue.qsize() == MAX_SOUNDS
    go.set()
    recorder.close()
    assert recorder.pictures == MAX_PICTURES + 1


def test_a_disk_that_refuses_is_reported_and_stops_the_recording(tmp_path: Path) -> None:
    failures: list[Exception] = []
    recorder = Recorder(tmp_path / "no" / f"a{PARTIAL}", ORIGIN, failures.append)
    recorder.picture(0, picture(0))
    recorder.close()
    recorder.picture(FRAME, picture(1))
    assert len(failures) == 1 and isinstance(failures[0], OSError)


def test_a_file_that_cannot_be_signed_stays_and_plays(tmp_path: Path) -> None:
    def refuse(origin: dict[str, str], path: Path) -> None:
        raise ValueError("no certificate")

    recorder = Recorder(tmp_path / f"a{PARTIAL}", ORIGIN)
    feed(recorder, 1.0)
    recorder.close()
    assert finish(recorder.path, refuse) == recorder.path
    assert played(recorder.path)[0] == 25
    assert [path.name for path in tmp_path.iterdir()] == [recorder.path.name]


def test_what_holds_nothing_is_removed_when_the_server_starts_again(tmp_path: Path) -> None:
    (tmp_path / f"empty{PARTIAL}").write_bytes(b"")
    (tmp_path / f"noise{PARTIAL}").write_bytes(os.urandom(5000))
    assert recover(tmp_path, unsigned) == []
    assert list(tmp_path.iterdir()) == []


KILLED = """
import sys, time
from pathlib import Path
from tests.server.recordings.test_recorder import BLOCK, FRAME, ORIGIN, PARTIAL
from tests.server.recordings.test_recorder import Recorder, np, picture
recorder = Recorder(Path(sys.argv[1]) / f"k{PARTIAL}", ORIGIN)
began = time.monotonic()
at = 0
while True:
    while at / 16000 > time.monotonic() - began:
        time.sleep(0.005)
    recorder.sound(at, np.full(960, 3000, np.int16))
    if at % FRAME == 0:
        recorder.picture(at, picture(at // FRAME))
        print(f"{at / 16000:.2f}", flush=True)
    at += BLOCK
"""


@pytest.mark.parametrize("seconds", [2.2, 3.7])
def test_it_plays_up_to_the_last_second_when_the_process_is_killed(
    tmp_path: Path, seconds: float
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = 0.0
    for line in process.stdout:
        said = float(line)
        if said >= seconds:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    shown = played(tmp_path / f"k{PARTIAL}")[1]
    assert shown > said - 1.0, "the file plays as it is"
    (final,) = recover(tmp_path, unsigned)
    assert played(final)[1] > said - 1.0
    assert [path.name for path in tmp_path.iterdir()] == ["k.mp4"]


# -- over HTTP ---------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class FakeProvenance:
    """Signs nothing; refuses when it is told to."""

    refusal: Exception | None = None
    told: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)

    def admit(self, stream: Any, session: str) -> dict[str, str]:
        if self.refusal:
            raise self.refusal
        return ORIGIN

    def seal(self, origin: dict[str, str], path: Path) -> None:
        unsigned(origin, path)

    def lend(self, origin: dict[str, str], recording: str, actor: str) -> None:
        if self.refusal:
            raise self.refusal
        self.told.append(("fetched", recording, actor))

    def deleted(self, origin: dict[str, str], recording: str, actor: str) -> None:
        self.told.append(("deleted", recording, actor))


@pytest.fixture
def provenance() -> FakeProvenance:
    return FakeProvenance()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    keys, recordings = str(tmp_path / "keys.sqlite"), str(tmp_path / "recordings")
    return Settings(slots=3, grace_s=2.0, drain_s=0.5, keys=keys, recordings=recordings)


@pytest.fixture
def recording(served: Served, provenance: FakeProvenance) -> Served:
    kept(served).provenance = provenance
    return served


def kept(served: Served) -> Recordings:
    assert served.http.app is not None
    return served.http.app[RECORDINGS]


async def test_a_call_is_recorded_and_everybody_in_it_is_told(
    recording: Served, tmp_path: Path
) -> None:
    async with calling(recording.http, speak=voice) as caller:
        path = f"{caller.session}/recording"
        begun = await recording.http.post(path, headers=caller.auth)
        assert begun.status == 201 and (await begun.json())["state"] == "recording"
        await caller.event("notice", code="recording_started")
        again = await recording.http.post(path, headers=caller.auth)
        assert again.status == 409
        await caller.until(lambda: len(caller.pictures) > 60)
        ended = await (await recording.http.delete(path, headers=caller.auth)).json()
        await caller.event("notice", code="recording_stopped")
        assert (await recording.http.get(path, headers=caller.auth)).status == 409
    file = tmp_path / "recordings" / ended["file"]
    pictures, shown, heard = played(file)
    assert pictures == ended["pictures"] > 30 and file.stat().st_size == ended["bytes"]
    assert shown == pytest.approx(heard, abs=0.3)


async def test_a_recording_ends_with_its_session(recording: Served, tmp_path: Path) -> None:
    async with calling(recording.http, speak=voice) as caller:
        path = f"{caller.session}/recording"
        assert (await recording.http.post(path, headers=caller.auth)).status == 201
        await caller.until(lambda: len(caller.pictures) > 30)
        await recording.http.delete(caller.session, headers=caller.auth)
    await kept(recording).close()
    (file,) = (tmp_path / "recordings").glob("*.mp4")
    assert not file.name.endswith(PARTIAL) and played(file)[0] > 10


async def test_without_consent_to_it_nothing_is_recorded(
    recording: Served, provenance: FakeProvenance, tmp_path: Path
) -> None:
    provenance.refusal = ConsentRequired("consent covers live, not recording", code="consent_scope")
    made = await (await recording.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    auth = {"Authorization": f"Bearer {made['token']}"}
    refused = await recording.http.post(f"/v1/sessions/{made['id']}/recording", headers=auth)
    assert refused.status == 403
    body = await refused.json(content_type="application/problem+json")
    assert (body["type"], body["code"]) == ("/problems/consent-required", "consent_scope")
    assert [path.name for path in (tmp_path / "recordings").iterdir()] == [LOCK]


async def test_a_server_without_a_folder_records_nothing(served: Served) -> None:
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    auth = {"Authorization": f"Bearer {made['token']}"}
    path = f"/v1/sessions/{made['id']}/recording"
    refused = await served.http.post(path, headers=auth)
    assert refused.status == 403
    assert (await served.http.delete(path, headers=auth)).status == 409
    assert (await served.http.post(path)).status == 401
