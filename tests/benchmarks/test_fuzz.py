"""A little of ``benchmarks.fuzz``, and every operation of ``/openapi.json`` with drawn inputs."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.__main__ import ALL, drive
from benchmarks.fuzz.http import ServerTarget
from benchmarks.fuzz.inputs import FRAGMENT, SDP
from benchmarks.fuzz.targets import Target

PURE = [target for target in ALL if not isinstance(target, ServerTarget)]
SERVED = [target for target in ALL if isinstance(target, ServerTarget)]


@pytest.mark.parametrize("target", PURE, ids=lambda target: target.name)
def test_a_target_refuses_what_it_cannot_use_and_never_breaks(target: Target) -> None:
    report = drive(target, 150, 1)
    assert report.findings == [] and not report.found
    assert report.taken and report.refused, "some inputs are whole, some are not"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("target", SERVED, ids=lambda target: target.name)
def test_a_server_refuses_what_it_cannot_use_and_never_breaks(target: Target) -> None:
    report = drive(target, 40, 1)
    assert report.findings == [] and not report.found


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_operation_of_the_openapi_document_answers_with_a_failure() -> None:
    schemathesis = pytest.importorskip("schemathesis")
    for media_type in (SDP, FRAGMENT):
        schemathesis.serializer.alias(media_type, "text/plain")
    from hypothesis import HealthCheck, given, settings

    with ServerTarget("openapi", 1, [b"{}"], "/v1/avatars", "") as server:
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
