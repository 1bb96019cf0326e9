"""``python -m pipeline.render`` in every state of consent: no frame, no file, one line says why.

Its real ``main``, gate and registry; the model is a stand-in that asks its grant before each frame,
as the real one does.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.avatars import BundledAvatar, write_consent
from pipeline.consent import Kind, Outcome, Registry, RegistryOverrides, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.policy import Demand, Policy
from pipeline.consent.records import new_record
from tests.pipeline.test_render import Studio, write_wav

RECORD = "c-state"
NEVER: dict[str, dict[str, object]] = {  # how the record is from the start
    "too young": {"birth_year": 2015},
    "age unknown": {"adult": False},
    "not this use": {"scopes": frozenset({Scope.LIVE})},
    "without fingerprint": {"fingerprint": b""},
    "public figure": {"subject": "Taylor Swift"},
    "other picture": {"image_sha256": "ab" * 32},
    "for another country": {"territory": "CH"},
    "expired": {"created_at": 1.0, "captured_at": 1.0, "expires_at": 2.0},
}


def _tampered(registry: Registry, consent_id: str) -> None:
    with registry.database.write() as connection:
        connection.exec_driver_sql("UPDATE consent_records SET statement = 'anything'")
        registry.database.bump(connection)


LOST: dict[str, Callable[[Registry, str], object]] = {  # what becomes of a good one
    "revoked": lambda registry, consent_id: registry.revoke(consent_id),
    "check failed": lambda registry, consent_id: registry.verify(
        consent_id, {"voice": Outcome.FAILED}, "by ear"
    ),
    "protected": lambda registry, consent_id: registry.denials.add("Ada Example"),
    "tampered": _tampered,
}
VOICE = Policy({scope: Demand(frozenset({"voice"})) for scope in Scope})


class Room(Studio):
    """A studio in which Ada's picture, or a bundled Ada, is asked to speak."""

    def write(self, **changes: object) -> None:
        """Ada's record, changed as asked."""
        record = new_record(
            subject="Ada Example",
            kind=Kind.SELF,
            statement="I agree.",
            image_sha256=hashlib.sha256(self.picture().read_bytes()).hexdigest(),
            adult=True,
            fingerprint=PLAIN,
        )
        wanted = replace(record, id=RECORD, **changes)  # type: ignore[arg-type]
        self.at_registry(lambda registry: registry.add(wanted))

    def at_registry(self, act: Callable[[Registry], object]) -> None:
        """Acts as another process would, with a registry of its own."""
        registry = Registry(self.registry)
        act(registry)
        registry.close()

    def lose(self, how: str, bundled: bool) -> None:
        consent_id = BundledAvatar("ada", self.folder / "avatars" / "ada").consent().id
        self.at_registry(lambda registry: LOST[how](registry, consent_id if bundled else RECORD))

    def ask(self, bundled: bool = False, consent: str = RECORD) -> str:
        own = {} if bundled else {"image": self.folder / "me.png", "consent": consent}
        return self.refused(**own)


@pytest.fixture
def room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Room:
    folder = tmp_path / "avatars" / "ada"
    folder.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    Image.fromarray(np.full((128, 128, 3), 7, np.uint8)).save(folder / "reference.png")
    (folder / "fit.json").write_text("{}")
    write_consent(BundledAvatar("ada", folder), "Ada Example", "Does not exist.", 1.8e9)
    write_wav(tmp_path / "speech.wav")
    return Room(tmp_path, capsys)


@pytest.mark.parametrize("never", NEVER)
def test_such_a_record_renders_nothing(room: Room, never: str) -> None:
    room.write(**NEVER[never])
    room.ask()
    assert room.pipeline.calls == [], "the model was loaded"


def test_the_registrys_policy_and_vault_count_without_being_named(room: Room) -> None:
    served = Registry(room.registry, setup=RegistryOverrides(vault=room.folder / "far"))
    served.policies.set(VOICE)
    room.write()
    assert "voice" in room.ask()
    assert room.pipeline.calls == []
    served.verify(RECORD, {"voice": Outcome.PASSED}, "by ear")
    assert room.run(image=room.folder / "me.png", consent=RECORD) == 0
    assert served.log.verify() > 0 and not room.registry.with_suffix(".vault").exists()
    served.close()


@pytest.mark.parametrize("consent", ["c-none", "", "no registry"])
def test_without_a_record_nothing_is_rendered(room: Room, consent: str) -> None:
    room.picture()
    if consent == "no registry":
        room.registry.write_bytes(b"this is no registry" * 100)
    room.ask(consent=consent)
    assert room.pipeline.calls == []


@pytest.mark.parametrize("bundled", [False, True], ids=["own", "bundled"])
@pytest.mark.parametrize("lost", LOST)
def test_consent_that_was_lost_renders_nothing(room: Room, lost: str, bundled: bool) -> None:
    room.write()
    own = {} if bundled else {"image": room.folder / "me.png", "consent": RECORD}
    assert room.run(**own) == 0
    room.out.unlink()
    room.capsys.readouterr()
    room.pipeline.calls.clear()
    room.lose(lost, bundled)
    room.ask(bundled)
    assert room.pipeline.calls == []


@pytest.mark.parametrize("bundled", [False, True], ids=["own", "bundled"])
@pytest.mark.parametrize("lost", [*LOST, "expired"])
def test_consent_that_is_lost_meanwhile_leaves_no_file(
    room: Room, monkeypatch: pytest.MonkeyPatch, lost: str, bundled: bool
) -> None:
    room.write(expires_at=time.time() + 3600)
    made: list[int] = []

    def at_frame(index: int) -> None:
        made.append(index)
        if index != 5:
            return
        if lost == "expired":
            late = time.time() + 2 * 86_400
            monkeypatch.setattr(
                "pipeline.consent.steady_clock.SteadyClock.__call__", lambda _: late
            )
        else:
            room.lose(lost, bundled)

    room.pipeline.at_frame = at_frame
    room.ask(bundled)
    assert made == list(range(6)), "the frame after it was still made"


def test_a_policy_that_becomes_stricter_meanwhile_leaves_no_file(room: Room) -> None:
    room.write()
    made: list[int] = []

    def at_frame(index: int) -> None:
        made.append(index)
        if index == 5:
            room.at_registry(lambda registry: registry.policies.set(VOICE))

    room.pipeline.at_frame = at_frame
    assert "voice" in room.ask()
    assert made == list(range(6)), "the frame after it was still made"


def test_how_many_states_of_render_there_are(
    record_property: Callable[[str, object], None],
) -> None:
    combinations = len(NEVER) + 3 + 2 * len(LOST) + 2 * (len(LOST) + 1) + 2
    record_property("combinations", combinations)
    assert combinations == 31
