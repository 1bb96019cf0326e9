"""Where a session is placed, and what a refused caller is told."""

from __future__ import annotations

import time

import pytest

from server.cluster import resume
from server.cluster.actors import fitting
from server.cluster.room import Room, Seat, best, counted, retry_after_s, worker_of
from server.cluster.worker_metrics import joined
from server.errors import ResumeRefused
from server.sessions.options import Options
from server.settings import Settings, SettingsError, of_node


def room(worker: str, taken: int = 0, **about: object) -> Room:
    return Room(worker, door="open", total=4, taken=taken, **about)  # type: ignore[arg-type]


def test_a_worker_that_has_the_avatar_ready_is_preferred() -> None:
    rooms = [room("w0"), room("w1", 3, ready=("mira",))]
    assert (best(rooms, "mira"), best(rooms, "tomo")) == ("w1", "w0")


def test_no_session_goes_to_a_worker_that_is_full_draining_or_has_refused() -> None:
    rooms = [room("w0", 4), Room("w1", door="draining", total=4), room("w2")]
    assert best(rooms, "mira") == "w2"
    assert best(rooms, "mira", refused={"w2"}) is None


def test_a_refused_caller_waits_for_as_long_as_a_slot_takes_to_come_free() -> None:
    assert retry_after_s([room("w0", 4, mean_s=120.0), room("w1", 4, mean_s=40.0)]) == 10
    assert retry_after_s([room("w0", 1, mean_s=9e9)]) == 60
    assert retry_after_s([]) == 5


def test_what_keys_have_is_counted_over_all_workers() -> None:
    rooms = [room("w0", counts={"key a": 2}), room("w1", counts={"key a": 1, "key b": 1})]
    assert counted(rooms) == {"key a": 3, "key b": 1}


def test_the_id_of_a_session_names_its_worker() -> None:
    assert (worker_of("s-w3-0011"), worker_of("s-0011"), worker_of("../x")) == ("w3", "", "")


KEY = "k" * 32


def test_a_session_goes_on_with_all_that_was_asked_and_its_media_time() -> None:
    asked = Options("mira", "calm", 7, answers=True, listen=True)
    seat = Seat("s-w0-1", asked, "live", 16_000, time.time() - 2)
    again = resume.read(resume.make(seat, KEY), ["another" * 8, KEY])
    assert (again.avatar, again.prompt, again.seed, again.before) == ("mira", "calm", 7, "s-w0-1")
    assert again.answers and again.listen
    assert 48_000 <= again.since < 64_000


def test_a_resume_token_of_another_cluster_is_refused() -> None:
    token = resume.make(Seat("s-w0-1", Options("mira"), "live", 0, time.time()), KEY)
    for bad in (token[:-4], "", "x.y.z"):
        with pytest.raises(ResumeRefused):
            resume.read(bad, [KEY])
    with pytest.raises(ResumeRefused):
        resume.read(token, ["another" * 8])


def test_workers_fit_by_processors_or_by_gpus() -> None:
    machines = [{"CPU": 9.0, "GPU": 2.0}, {"CPU": 1.0}]
    assert fitting(machines, Settings(cores=4)) == 2
    assert fitting(machines, Settings(cores=4, device="cuda")) == 2
    assert fitting(machines, Settings(cores=1, device="cuda")) == 2


def test_metrics_of_all_workers_are_one_page_with_their_names() -> None:
    texts = dict.fromkeys(("w0", "w1"), b"# TYPE continuum_slots gauge\ncontinuum_slots 4.0\n")
    page = joined(texts, [room("w0", 1)]).decode()
    assert 'continuum_slots{worker="w1"} 4.0' in page
    assert 'continuum_free_slots{worker="w0"} 3.0' in page
    assert page.count("# TYPE continuum_slots gauge") == 1


def test_a_machines_environment_says_what_its_network_is() -> None:
    environ = {"CONTINUUM_UDP_ANNOUNCED": "203.0.113.7", "CONTINUUM_SLOTS": "9"}
    here = of_node(Settings(slots=3, udp_ports="40000-40100"), environ)
    assert (here.udp_announced, here.slots) == (("203.0.113.7",), 3)
    assert here.udp_ports == "40000-40100"


def test_a_cluster_keeps_no_recordings() -> None:
    with pytest.raises(SettingsError, match="recordings"):
        Settings(cluster="auto", recordings="somewhere")
