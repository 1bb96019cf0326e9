"""A little of ``benchmarks.fuzz``, and every operation of ``/openapi.json`` with drawn inputs."""

from __future__ import annotations

import pytest

from benchmarks import fuzz_doors
from benchmarks.fuzz import ALL, drive

PURE = [door for door in ALL if not isinstance(door, fuzz_doors.ServerDoor)]
SERVED = [door for door in ALL if isinstance(door, fuzz_doors.ServerDoor)]


@pytest.mark.parametrize("door", PURE, ids=lambda door: door.name)
def test_a_door_refuses_what_it_cannot_use_and_never_breaks(door: fuzz_doors.Door) -> None:
    report = drive(door, 150, 1)
    assert report.findings == [] and not report.found
    assert report.taken and report.refused, "some inputs are whole, some are not"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("door", SERVED, ids=lambda door: door.name)
def test_a_server_refuses_what_it_cannot_use_and_never_breaks(door: fuzz_doors.Door) -> None:
    report = drive(door, 40, 1)
    assert report.findings == [] and not report.found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_operation_of_the_openapi_document_answers_with_a_failure() -> None:
    schemathesis = pytest.importorskip("schemathesis")
    for media_type in (fuzz_doors.SDP, fuzz_doors.FRAGMENT):
        schemathesis.serializer.alias(media_type, "text/plain")
    from hypothesis import HealthCheck, given, settings

    with fuzz_doors.ServerDoor("openapi", 1, [b"{}"], "/v1/avatars", "") as server:
        url = f"http://127.0.0.1:{server.port}"
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        for found in schema.get_all_operations():
            operation = found.ok()

            @given(case=operation.as_strategy())
            @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
            def ask(case: object) -> None:
                response = case.call(base_url=url)  # type: ignore[attr-defined]
                assert response.status_code < 500 or response.status_code == 503, (
                    f"{case}: {response.status_code} {response.text}"
                )

            ask()
