"""A push in time: what is tried again, how often, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from server.errors import PushRefused, TooManyPushes
from server.push import pushes
from server.push.push import RETRY_S, Broken, Push, PushState, Refused
from server.push.pushes import MOST, Pushes
from server.settings import Settings
from tests.server.conftest import Served


class Script:
    """A target that does what is written, once a try: an error, or None for live and then gone."""

    def __init__(self, *acts: Exception | None) -> None:
        self.acts = list(acts)

    async def run(self, live: Callable[[], None]) -> None:
        act = self.acts.pop(0)
        if act is not None:
            raise act
        live()
        raise Broken("the connection is closed")


async def played(*acts: Exception | None) -> tuple[Push, list[str], list[float]]:
    states: list[str] = []
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    push = Push(
        "https://live.example/whip/secret", Script(*acts), lambda p: states.append(p.state), sleep
    )
    await push.run()
    return push, states, waits


async def test_what_is_refused_is_not_tried_again() -> None:
    push, states, waits = await played(Refused("the server answers 401 Unauthorized"))
    assert (states, waits) == ([PushState.FAILED], [])
    assert push.problem == "the server answers 401 Unauthorized"


async def test_what_breaks_is_tried_again_ever_more_slowly_and_not_for_ever() -> None:
    push, states, waits = await played(*[Broken("away")] * len(RETRY_S))
    assert waits == list(RETRY_S[:-1]) and states[-1] is PushState.FAILED
    assert push.tries == len(RETRY_S)


async def test_tries_are_counted_anew_once_it_was_live() -> None:
    _, states, waits = await played(Broken("a"), Broken("b"), None, Refused("enough"))
    assert waits == [RETRY_S[0], RETRY_S[1], RETRY_S[0]]
    assert states == ["retrying", "retrying", "live", "retrying", "failed"]


async def test_a_key_in_the_address_is_not_shown() -> None:
    push, *_ = await played(Refused("no"))
    assert push.describe()["url"] == "https://live.example"


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("https://live.example/whip", ()),
        ("https://other.example/whip", ("live.example",)),
        ("https://live.example:9/whip", ("live.example:443",)),
        ("file:///etc/passwd", ("*",)),
        ("https://me:word@live.example/whip", ("*",)),
        ("https://live.example:x/", ("*",)),
    ],
)
async def test_sessions_are_sent_nowhere_but_where_the_operator_allows(
    served: Served, url: str, hosts: tuple[str, ...]
) -> None:
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    session = served.manager.session(made["id"])
    with pytest.raises(PushRefused):
        Pushes(Settings(push_hosts=hosts)).start(session, url, "")


async def test_a_session_is_sent_to_few_places(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await (await served.http.post("/v1/sessions", json={"avatar": "mira"})).json()
    session = served.manager.session(made["id"])
    monkeypatch.setattr(pushes.Push, "run", lambda self: served.manager.settled.wait())
    ours = Pushes(Settings(push_hosts=("live.example",)))
    for _ in range(MOST):
        ours.start(session, "rtmp://live.example/app", "key")
    with pytest.raises(TooManyPushes):
        ours.start(session, "rtmp://live.example/app", "key")
    await ours.close()
