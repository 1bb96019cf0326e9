"""What the pipeline refuses, over HTTP: each kind once, never as a fault of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import errors
from pipeline.avatar_catalog import AvatarCatalog
from pipeline.consent import ConsentGate, Registry
from pipeline.errors import ContinuumError
from server.avatars import sources
from server.avatars.pipeline_errors import translated
from server.avatars.sources import Bundled
from server.bootstrap import CannotStart, open_server
from server.errors import ServerError
from server.settings import Settings
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.conftest import serving

# Met in streams and files, not in requests.
NOT_OVER_HTTP = (errors.AudioError, errors.StreamError, errors.OutputError)


def leaves(root: type[ContinuumError]) -> Iterator[type[ContinuumError]]:
    for kind in root.__subclasses__():
        if kind.__module__ == "pipeline.errors":
            yield from leaves(kind)
            if not kind.__subclasses__() and not issubclass(kind, NOT_OVER_HTTP):
                yield kind


@pytest.mark.parametrize("kind", sorted(leaves(ContinuumError), key=lambda kind: kind.__name__))
def test_every_refusal_has_a_status_and_says_what_to_do(kind: type[ContinuumError]) -> None:
    with pytest.raises(ServerError) as told, translated():
        raise kind("do this")
    problem = told.value.problem()
    assert (
        problem["status"] in (403, 404, 409, 422, 503) and problem["type"] != "/problems/internal"
    )
    assert (problem["detail"], problem["code"]) == ("do this", kind.code)
    if issubclass(kind, errors.ConsentError) and not kind.retryable:
        damaged = kind is errors.EvidenceInvalid  # an operator's to mend, not the caller's
        assert problem["status"] == (503 if damaged else 403)


class Replaced(FakePipeline):
    """A pipeline under which the avatar's picture was exchanged."""

    def open(self, avatar: object, grant: object, prompt: str = "", seed: int = 0):  # type: ignore[no-untyped-def]
        if self.streams:  # the first is warm-up's
            raise errors.ConsentMismatch("the grant is for picture aaaa, not bbbb")
        return super().open(avatar, grant, prompt, seed)


async def test_a_picture_replaced_under_a_running_server_is_403(settings: Settings) -> None:
    async with serving(settings, Replaced(), FakeSource()) as served:
        answer = await served.http.post("/v1/sessions", json={"avatar": "mira"})
        problem = await answer.json(content_type="application/problem+json")
        assert (answer.status, problem["code"]) == (403, "consent_mismatch")
        assert served.manager.slots.taken == 0


def test_a_registry_that_cannot_be_asked_is_503_and_worth_another_try(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "consents.sqlite")
    source = Bundled(FakePipeline(), AvatarCatalog(ConsentGate(registry)))
    registry.close()
    with pytest.raises(ServerError) as told:
        source.grant("mira")
    assert told.value.status == 503 and told.value.problem()["retryable"] is True


def opening(tmp_path: Path, model: str) -> str:
    settings = Settings(model=model, registry=str(tmp_path / "consents.sqlite"))
    with pytest.raises(CannotStart) as told:
        open_server(settings)
    return str(told.value)


def test_a_model_that_is_not_there_or_not_a_model_cannot_start(tmp_path: Path) -> None:
    assert "neither a bundled model" in opening(tmp_path, "sora")
    (tmp_path / "empty").mkdir()
    assert str(tmp_path / "empty") in opening(tmp_path, str(tmp_path / "empty"))


def test_weights_that_are_cut_off_or_would_run_code_cannot_start(tmp_path: Path) -> None:
    cut = tmp_path / "model.safetensors"
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    cut.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 3)
    assert "model.safetensors" in opening(tmp_path, str(cut))
    code = tmp_path / "weights.pt"
    code.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "weights.pt" in opening(tmp_path, str(code))


@pytest.mark.parametrize("kind", [errors.ModelUnsafe, errors.ModelMismatch, errors.ModelTooLarge])
def test_what_a_model_is_refused_for_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[ContinuumError]
) -> None:
    def refuse(*_: object) -> None:
        raise kind("it would take 31 GB, there are 24")

    monkeypatch.setattr("pipeline.loader.load_pipeline", refuse)
    assert opening(tmp_path, "mini") == "it would take 31 GB, there are 24"


def test_a_gpu_that_is_not_there_is_told(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    settings = Settings(
        model=str(tmp_path), device="cuda", registry=str(tmp_path / "consents.sqlite")
    )
    with pytest.raises(CannotStart, match="no GPU"):
        open_server(settings)


def test_nobody_is_told_twice_of_a_forced_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Forced(FakePipeline):
        notices = ("64x64 is not one of its sizes",)

        def bundled(self, avatar: str, grant: object, *, size: object) -> str:
            return avatar

    registry = Registry(tmp_path / "consents.sqlite")
    source = Bundled(Forced(), AvatarCatalog(ConsentGate(registry)))
    for _ in range(2):
        source.enrol("mira", source.grant("mira"))
    registry.close()
    assert [r.message for r in caplog.records if r.name == sources.__name__] == [
        "64x64 is not one of its sizes"
    ]
