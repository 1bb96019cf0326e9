"""Whole forwards, chunks, streams and profiles: frames a second, and that all paths agree."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.bench import Absent, Bench
from benchmarks.gpu.subjects import (
    attention,
    config,
    decoder,
    given,
    performer,
    shape,
    step,
    transformer,
)
from pipeline.acceleration.profile import profile, profiles
from pipeline.attention import attend
from pipeline.models.wan.accelerate import accelerate, compile_blocks
from pipeline.models.wan.generation.batching import decode_together, together
from pipeline.models.wan.generation.forward import ForwardRequest, answer
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.network.cuda_graphs import CudaRecorder, Graphs
from pipeline.models.wan.vae.autoencoder import VaeDecoder, WanVae
from pipeline.models.wan.vae.norms import channels_last, fuse_norms, kernel_or_torch
from pipeline.models.wan.vae.tiled_decode import decode_strips
from pipeline.streaming.isolation import Failed


def devices_agree(b: Bench) -> None:
    """Both layouts and the decoder, small, in float32: this device against the CPU."""
    small = Bench(str(b.device), True)
    small.half = torch.float32
    for layout in "AB":
        dit = transformer(small, "tiny", layout)
        told = given(small, dit, "tiny")
        ours = step(dit, told, attend)().cpu()
        exact = step(copy.deepcopy(dit).cpu(), moved(told, torch.device("cpu")), attend)()
        b.near(f"layout {layout}", ours, exact, 2e-3)  # convolutions may use TF32
    vae = decoder(small, torch.float32)
    latents = small.noise(1, 16, 3, 4, 4)
    b.near("decoder", vae.decode(latents).cpu(), vae.cpu().decode(latents.cpu()), 5e-3)


def moved(value: Any, place: torch.device) -> Any:
    """Tensors within tuples, lists and dataclasses, elsewhere."""
    if isinstance(value, Tensor):
        return value.to(place)
    if isinstance(value, list | tuple):
        return type(value)(moved(part, place) for part in value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {f.name: moved(getattr(value, f.name), place) for f in fields(value)}
        return replace(value, **parts)
    return value


def chunk(b: Bench) -> None:
    """Three steps of 33 frames at 512x512, with everything around them; then decoded."""
    dit = transformer(b, "1.3b")
    chosen = attention(b, dit)
    taken = b.seconds(step(dit, given(b, dit, "1.3b"), chosen))
    b.row("one step, not compiled", 1e3 * taken, "ms")
    run, speech = performer(b, dit, AccelerationPlan((chosen,)), 0)
    taken = b.seconds(lambda: run.advance(speech()), 3)
    b.bar("a chunk", run.hop / taken, "frames/s", 40, b.peak())
    vae = decoder(b)
    channels_last(vae)
    shown = VaeDecoder(vae)
    taken = b.seconds(lambda: shown.push(run.advance(speech()).latents), 2)
    b.row("a chunk, decoded", run.hop / taken, "frames/s", note=b.peak())


def whole(made: Any) -> Any:
    """What a turn returned; what it raised is raised."""
    if isinstance(made, Failed):
        raise made.error
    return made


def streams(b: Bench) -> None:
    """Four streams in one batch over each alone."""
    dit = transformer(b, "1.3b")
    pace = AccelerationPlan((attention(b, dit),))

    def advance(cast: list[Any], most: int) -> list[Tensor]:
        turns = [run.turn(speech()) for run, speech in cast]
        return [whole(fresh).latents for fresh in together(turns, most)]

    apart, joint = ([performer(b, dit, pace, seed) for seed in range(4)] for _ in range(2))
    for alone, shared in zip(advance(apart, 1), advance(joint, 4), strict=True):
        b.near("a stream gets what it gets alone", shared, alone, 0.06 if b.cuda else 1e-5)
    single = b.seconds(lambda: advance(apart[:1], 1), 3)
    four = b.seconds(lambda: advance(joint, 4), 3)
    b.bar("four over one", 4 * single / four, "times", 2, b.peak())


def shipped(b: Bench) -> None:
    """Profiles as they ship, to a decoded frame of the 1.3B shape."""
    for name in profiles():
        if name.startswith("gpu") == b.cuda:
            b.attempt(name, lambda name=name: _one_profile(b, name))  # type: ignore[misc]


def _one_profile(b: Bench, name: str) -> None:
    how = replace(profile(name), launch_compile=False)  # which has a check of its own
    dit, vae = transformer(b, "1.3b"), decoder(b)
    made = accelerate(dit.cpu() if how.offload_gib else dit, vae, how, b.device)
    b.row(f"{name}: switched on", good=True, note="; ".join(made.notices))
    run, speech = performer(b, dit, made.pace, 0)
    fresh = run.advance(speech())
    taken = b.seconds(lambda: run.advance(speech()), 2)
    b.row(f"{name}: chunks", run.hop / taken, "frames/s", note=b.peak())
    frames = VaeDecoder(vae, made.decode).push(fresh.latents[:, :, :2])
    b.row(f"{name}: frames", good=bool(torch.isfinite(frames).all()), note=b.peak())


def vae(b: Bench) -> None:
    """The decoder plain and as profiles rearrange it: error against float32, frames a second."""
    side = 4 if b.tiny else 64
    exact = decoder(b, torch.float32)
    latents = b.noise(1, 16, 3, side, side, dtype=torch.float32)
    frames, state = VaeDecoder(exact).push(latents), exact.state_dict()
    del exact

    def fused(made: WanVae) -> None:
        channels_last(made)
        fuse_norms(made, kernel_or_torch(made, b.device)[0])

    ways: dict[str, tuple[Callable[[WanVae], None], int]] = {
        "plain": (lambda _: None, 0), "channels last": (channels_last, 0),
        "fused norms": (fused, 0), "strips": (fused, 2 if b.tiny else 16),
    }  # fmt: skip
    for name, (change, rows) in ways.items():

        def one(name: str = name, change: Any = change, rows: int = rows) -> None:
            made = decoder(b)
            made.load_state_dict(state)
            change(made)
            ours = VaeDecoder(made, partial(decode_strips, made, rows=rows) if rows else None)
            b.near(name, ours.push(latents), frames, 0.08 if b.cuda else 1e-4)
            taken = b.seconds(lambda: ours.push(latents[:, :, :1]))
            b.row(f"{name}: speed", 4 / taken, "frames/s", note=b.peak())

        b.attempt(name, one)
    made = decoder(b)
    rows = [(VaeDecoder(made), latents[:, :, :1]) for _ in range(4)]
    apart, joint = (b.seconds(lambda n=n: decode_together(rows, n), 3) for n in (1, 4))  # type: ignore[misc]
    b.row("four streams at once over apart", apart / joint, "times", note=b.peak())


class _Again:
    """A recorder where there is no CUDA device: it repeats the work."""

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        out = work().clone()
        return (lambda: out.copy_(work())), out


def graphs(b: Bench) -> None:
    """Recorded forwards: replays follow changed inputs, and what launches cost."""
    dit = transformer(b, "1.3b")
    made = Graphs(CudaRecorder(b.device) if b.cuda else _Again(), 10**6)
    x, mod, told, table = given(b, dit, "1.3b", 3)
    asked = ForwardRequest(dit, x, mod, told, table, tuple(range(3)))
    recorded = replace(asked, graphs=made)
    for level in (1000.0, 700.0):
        changed = {"x": torch.randn_like(x),
                   "mod": dit.modulation(torch.tensor([level], device=b.device))}  # fmt: skip
        ours, exact = answer(replace(recorded, **changed)), answer(replace(asked, **changed))
        b.near(f"a replay at level {level:g}", ours, exact, 1e-3)
    plain, replayed = (b.seconds(lambda a=a: answer(a)) for a in (asked, recorded))  # type: ignore[misc]
    b.row("replay over eager", plain / replayed, "times", note=b.peak())


def compilation(b: Bench) -> None:
    """One compiled block for all: seconds until it runs, what it gains and changes."""
    dit = transformer(b, "1.3b")
    forward = step(dit, given(b, dit, "1.3b"), attention(b, dit))
    exact, before = forward(), b.seconds(forward)
    compile_blocks(dit, "inductor" if b.cuda else "eager")
    first = b.seconds(forward, 1)
    b.near("compiled against eager", forward(), exact, 0.05)
    after = b.seconds(forward)
    b.row("compiled over eager", before / after, "times", note=f"first calls {first:.1f} s")
    counted = torch._dynamo.utils.counters["graph_break"]
    b.row("graph breaks", float(sum(counted.values())), good=not counted, note="; ".join(counted))


def waits(b: Bench) -> None:
    """A step never waits for the device."""
    b.need_cuda()
    dit = transformer(b, "1.3b", depth=4)
    forward = step(dit, given(b, dit, "1.3b"), attention(b, dit))
    forward()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        forward()
        torch.cuda.set_sync_debug_mode("default")
    found = [str(w.message) for w in seen if "synchroniz" in str(w.message)]
    b.row("waits in a step", float(len(found)), good=not found, note="; ".join(found[:2]))


def peer(b: Bench) -> None:
    """diffusers' transformer of the same shape and type, in the same run."""
    try:
        from diffusers import WanTransformer3DModel
    except ImportError as missing:
        raise Absent(f"diffusers does not import: {missing}") from missing
    c = config(b, "1.3b", "base")
    *_, latents, rows, columns, words = shape(b, "1.3b")
    with torch.device(b.device):
        theirs = WanTransformer3DModel(
            patch_size=c.patch, num_attention_heads=c.heads, attention_head_dim=c.head_dim,
            in_channels=16, out_channels=16, text_dim=c.text_dim, freq_dim=256, ffn_dim=c.ffn_dim,
            num_layers=c.depth,
        )  # fmt: skip
    theirs = theirs.eval().requires_grad_(False).to(b.half)
    x, text = b.noise(1, 16, latents, rows, columns), b.noise(1, words, c.text_dim)
    t = torch.tensor([833.3], device=b.device)
    slow = b.seconds(lambda: theirs(x, t, text, return_dict=False))
    ours = transformer(b, "1.3b", "base")
    quick = b.seconds(step(ours, given(b, ours, "1.3b"), attention(b, ours)))
    b.bar("a forward of theirs over ours", slow / quick, "times", 1.5)
    b.bar("a clip: their 40 guided steps over our three", 80 * slow / (3 * quick), "times", 15)
