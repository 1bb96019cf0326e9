"""Both GPU profiles on a card that is not here: load, self-checks, plan, warm-up, first frame.

Whatever is asked of the card is made on the host; what the card can do is said, not had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

import pipeline.models.wan.checkpoint.memory as memory
import pipeline.weights.loading as weights
from pipeline.acceleration.linear_fusion import fuse
from pipeline.acceleration.offload import BlockStream
from pipeline.acceleration.profile import profile
from pipeline.attention.backends import capability
from pipeline.consent import ConsentGrant
from pipeline.errors import ModelTooLarge
from pipeline.models.wan import accelerate, loading
from pipeline.models.wan.accelerate import compile_blocks
from pipeline.models.wan.config import AddedAudio
from pipeline.models.wan.pipeline import WanPipeline
from pipeline.models.wan.vae import norm_kernel
from tests.pipeline.models.wan import small
from tests.pipeline.models.wan.checkpoint.test_files import save_everything
from tests.pipeline.models.wan.whole import model, picture, speech

GIB = 2**30


class OnTheHost(TorchFunctionMode):
    """Every tensor that would lie on the card lies here."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", "") == "pin_memory":
            return args[0]
        if func is torch.device:  # a name of the card stays one
            return func(*args, **(kwargs or {}))
        named = {key: _here(value) for key, value in (kwargs or {}).items()}
        return func(*map(_here, args), **named)


def _here(value: Any) -> Any:
    on_card = isinstance(value, torch.device) and value.type == "cuda"
    named = isinstance(value, str) and value.startswith("cuda")
    return torch.device("cpu") if on_card or named else value


class Event:
    """What marks a moment of a queue."""

    def __init__(self, **_: object) -> None:
        return

    def record(self, *_: object) -> None:
        return

    def synchronize(self) -> None:
        return

    def elapsed_time(self, _: object) -> float:
        return 1.0


class Queue:
    """A device's queue, whose work is done when it is asked for."""

    def __init__(self, *_: object) -> None:
        return

    def wait_event(self, _: object) -> None:
        return

    def record_event(self) -> Event:
        return Event()


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A card of compute capability 8.9 with 24 GB, all free."""
    told = SimpleNamespace(capability=(8, 9), free=24 * GIB, host=256 * GIB)
    fakes = {
        "get_device_capability": lambda *_: told.capability, "Event": Event,
        "Stream": Queue, "current_stream": Queue,
        "stream": lambda _: nullcontext(), "device": lambda _: nullcontext(),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)

    def free(place: object) -> int:
        return int(told.free if str(place).startswith("cuda") else told.host)

    monkeypatch.setattr(norm_kernel, "ROWS", 256)  # fewer programs for the interpreter to run
    for module in (memory, loading, weights):
        monkeypatch.setattr(module, "free_memory", free)
    monkeypatch.setattr(accelerate, "fuse", partial(fuse, rows=40))
    monkeypatch.setattr(accelerate, "compile_blocks", partial(compile_blocks, backend="eager"))
    capability.cache_clear()
    with OnTheHost():
        yield told
    capability.cache_clear()


def load(tmp_path: Path, speed: str, depth: int = 6) -> WanPipeline:
    parts = model("livetalk-1.3b")
    if depth != 6:
        parts = replace(parts, dit=small.dit("A", depth=depth, audio=AddedAudio(96, 8, 1)))
    count = sum(p.numel() for p in parts.dit.parameters())
    quick = replace(parts.card.schedule, steps=2)
    small_one = replace(parts.card, parameters=count, schedule=quick)
    path = save_everything(tmp_path, parts)
    how = profile(speed)
    if not how.launch_compile:  # this layout's keys of the text are in every block
        how = replace(how, vae_strip_rows=1)
    return WanPipeline.load(path, small_one, device="cuda", dtype=torch.float32, speed=how)


def first_frame(pipeline: WanPipeline, grant: ConsentGrant) -> None:
    stream = pipeline.open(pipeline.enrol(picture(), grant), grant, "calm")
    stream.push(speech(2.5))
    frames = list(stream.step())
    assert frames and frames[0].image.std() > 0


@pytest.mark.slow
def test_the_24_gb_profile_reaches_its_first_frame(
    card: Any, tmp_path: Path, grant: ConsentGrant
) -> None:
    pipeline = load(tmp_path, "gpu-24gb")
    told = pipeline.reason
    assert "linear layers in int8-dynamic" in told and "linears run" in told
    assert "blocks stay on cuda" in told and "the decoder's norms run in" in told
    assert "attention: sdpa" in told and "it needs compute capability 9.x" in told
    assert isinstance(pipeline.model.dit.carrier, BlockStream)
    assert not pipeline.accepted.sizes, "a size of the card does not fit"
    first_frame(pipeline, grant)


@pytest.mark.slow
def test_a_card_with_less_room_streams_blocks_and_reaches_its_first_frame(
    card: Any, tmp_path: Path, grant: ConsentGrant
) -> None:
    whole = load(_folder(tmp_path, "one"), "gpu-24gb").model
    assert whole.plan is not None and isinstance(whole.dit.carrier, BlockStream)
    room = whole.dit.carrier.device_bytes * 4 // 5
    card.free = 22 * GIB - whole.plan.blocks[False] + room
    pipeline = load(_folder(tmp_path, "two"), "gpu-24gb")
    stream = pipeline.model.dit.carrier
    assert isinstance(stream, BlockStream) and 0 < len(stream.resident) < 6
    assert stream.device_bytes <= whole.dit.carrier.device_bytes
    first_frame(pipeline, grant)
    assert stream.loads > 6
    card.free = 10 * 2**20
    with pytest.raises(ModelTooLarge, match="temporaries"):
        load(_folder(tmp_path, "three"), "gpu-24gb")
    card.free, card.host = 24 * GIB, 1000
    with pytest.raises(ModelTooLarge, match="on cpu .transformer"):
        load(_folder(tmp_path, "four"), "gpu-24gb")


def _folder(root: Path, name: str) -> Path:
    (root / name).mkdir()
    return root / name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_80_gb_profile_is_warmed_up_and_reaches_its_first_frame(
    card: Any, tmp_path: Path, grant: ConsentGrant
) -> None:
    card.capability, card.free = (9, 0), 80 * GIB
    torch._dynamo.reset()
    pipeline = load(tmp_path, "gpu-80gb", depth=3)
    torch._dynamo.reset()
    assert "blocks are" in pipeline.reason and "flash3" in pipeline.reason
    assert pipeline.accepted.sizes == frozenset(pipeline.model.card.sizes), "not warmed up"
    first_frame(pipeline, grant)
