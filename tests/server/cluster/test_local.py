"""One machine: sessions behind the interface that workers have, without Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server.auth.access import LOCAL
from server.auth.quota import Quota
from server.cluster.local import LocalSignalling
from server.cluster.signalling import Asked, Order
from server.errors import Unauthorized, UnknownSession
from server.push.pushes import Pushes
from server.recordings.recordings import Recordings
from server.sessions.options import Options
from tests.server.conftest import Served

ROOT = Path(__file__).parents[3]


def test_one_machine_does_not_import_ray() -> None:
    modules = "run_server, server.api.serve, server.bootstrap, server.cluster.front"
    code = f"import sys, {modules}; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.fixture
def signalling(served: Served) -> LocalSignalling:
    return LocalSignalling(
        served.manager, Quota(0), Recordings(None, None), Pushes(served.manager.settings)
    )


async def test_a_session_is_opened_by_its_token_alone(signalling: LocalSignalling) -> None:
    made = await signalling.create(Order(Options("mira"), LOCAL))
    with pytest.raises(Unauthorized):
        await signalling.stats(Asked(made.id, "c_another", LOCAL))
    assert (await signalling.stats(Asked(made.id, made.token, LOCAL)))["avatar"] == "mira"


async def test_events_begin_with_ready_and_end_with_the_session(
    signalling: LocalSignalling,
) -> None:
    made = await signalling.create(Order(Options("mira"), LOCAL))
    asked = Asked(made.id, made.token, LOCAL)
    events = signalling.events(asked)
    assert '"ready"' in await anext(events)
    await signalling.delete(asked)
    assert any("session_ended" in event for event in [event async for event in events])
    with pytest.raises(UnknownSession):
        await signalling.check_session(asked)
    assert await signalling.listing(LOCAL) == []
