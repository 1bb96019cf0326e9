"""``continuum doctor``: what is looked at, how it is told, and the exit status."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aioice import stun

from pipeline.errors import RegistryUnavailable
from server.cli.checks import content, machine, network
from server.cli.checks.checklist import CHECKS
from server.cli.checks.finding import Finding, State, fail, findings, ok
from server.cli.command import main
from server.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        keys=str(tmp_path / "keys.sqlite"), registry=str(tmp_path / "consents.sqlite"), port=0
    )


def states(found: Iterator[Finding]) -> list[State]:
    return [finding.state for finding in found]


def test_every_check_is_told_as_json_and_nothing_is_made(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server.toml").write_text(
        f'port = 0\nregistry = "{settings.registry}"\nkeys = "{settings.keys}"\n'
    )
    assert main(["doctor", "--config", str(tmp_path / "server.toml"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["check"] for row in rows} == set(CHECKS) - {"services"}
    assert [path.name for path in tmp_path.iterdir()] == ["server.toml"]


def test_what_fails_is_told_with_advice_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {"turn": lambda settings: iter([fail("turn", "does not answer", "is it up?")])}
    monkeypatch.setattr("server.cli.checks.checklist.CHECKS", broken)
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "fail  turn        does not answer" and told[1].strip() == "is it up?"
    assert told[-1] == "1 failures, 0 notes"


def test_a_check_that_is_refused_is_a_finding_and_the_others_go_on(settings: Settings) -> None:
    def refused(settings: Settings) -> Iterator[Finding]:
        raise RegistryUnavailable("the registry is locked")

    checks = {"registry": refused, "clock": lambda settings: iter([ok("clock", "set")])}
    assert list(findings(checks, settings)) == [
        fail("registry", "the registry is locked"),
        ok("clock", "set"),
    ]


@contextmanager
def stun_server() -> Iterator[int]:
    """Answers one binding request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("127.0.0.1", 0))

        def answer() -> None:
            data, client = listening.recvfrom(2048)
            asked = stun.parse_message(data)
            told = stun.Message(asked.message_method, stun.Class.RESPONSE, asked.transaction_id)
            listening.sendto(bytes(told), client)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listening.getsockname()[1]
        thread.join()


def test_a_stun_server_that_answers_is_well_and_one_that_is_not_there_fails() -> None:
    with stun_server() as port:
        found = network.relays(Settings(ice_servers=(f"stun:127.0.0.1:{port}",)))
        assert states(found) == [State.OK]
    assert states(network.relays(Settings(ice_servers=("stun:127.0.0.1:1",)))) == [State.FAIL]


def test_a_turn_server_that_is_silent_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "TRIES_S", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"turn:127.0.0.1:{silent.getsockname()[1]}?transport=udp"
        (found,) = network.relays(Settings(ice_servers=(url,)))
    assert found.state is State.FAIL and "does not answer" in found.detail


def test_a_port_that_is_taken_is_noted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (found,) = network.port(Settings(port=taken.getsockname()[1]))
    assert found.state is State.NOTE and "in use" in found.detail


def test_udp_ports_that_are_all_taken_fail() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        number = taken.getsockname()[1]
        found = network.udp(Settings(udp_ports=f"{number}-{number}"))
        assert states(found) == [State.FAIL]


def test_a_service_that_is_configured_and_away_fails() -> None:
    found = network.services(Settings(voice_url="http://127.0.0.1:1/v1"))
    assert states(found) == [State.FAIL]


@pytest.mark.parametrize(("host", "state"), [("127.0.0.1", State.OK), ("0.0.0.0", State.FAIL)])
def test_no_key_is_well_for_this_computer_alone(
    settings: Settings, host: str, state: State
) -> None:
    assert states(content.keys(Settings(host=host, keys=settings.keys))) == [state]


def test_cuda_is_refused_where_torch_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda package: "2.13.0+cpu")
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    (found,) = machine.gpu(Settings(device="cuda"))
    assert found.state is State.FAIL and found.advice == "make serve WHEELS=cuda"


def test_two_builds_of_onnx_runtime_are_noted(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    monkeypatch.setattr(machine, "version", lambda package: "1.31.1")
    assert states(machine.packages(settings)) == [State.OK, State.NOTE]
