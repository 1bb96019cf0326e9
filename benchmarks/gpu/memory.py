"""Models larger than the device: streamed blocks, 24 GB, and what a start costs the host."""

from __future__ import annotations

from dataclasses import replace

import torch

from benchmarks.gpu.bench import GIB, Absent, Bench
from benchmarks.gpu.subjects import attention, given, shape, step, transformer, vae_config
from pipeline.acceleration.offload import BlockStream, block_bytes
from pipeline.acceleration.profile import profile
from pipeline.acceleration.quantize import Quantization, quantize
from pipeline.models.wan.accelerate import accelerate
from pipeline.models.wan.checkpoint.working_memory import RESIDENT, Demand, working_memory
from pipeline.models.wan.model_cards import card
from pipeline.models.wan.vae.autoencoder import VaeDecoder, WanVae


def offload(b: Bench) -> None:
    """Ten blocks of the 14B shape through two slots: the same result under load, and its price."""
    dit = transformer(b, "14b", depth=10)
    chosen = attention(b, dit)
    told = given(b, dit, "14b")
    forward = step(dit, told, chosen)
    exact, resident = forward().clone(), b.seconds(forward, 3)
    blocks = list(dit.blocks.cpu())
    size = max(block_bytes(block, RESIDENT) for block in blocks)
    dit.carrier = BlockStream(blocks, b.device, 2 * size, RESIDENT)
    b.near("streamed against resident", forward(), exact, 1e-2 if b.cuda else 1e-9)
    quiet = forward().clone()
    for _ in range(3):
        if b.cuda:
            torch.cuda._sleep(int(2e8))  # computing is late: a copy must not overtake it
        b.row("streamed under load, the same to the bit", good=bool(torch.equal(forward(), quiet)))
    ratio = b.seconds(forward, 3) / resident
    judged = ratio <= 1.1 if b.cuda and not b.tiny else None
    b.row("streamed over resident", ratio, "times the time", judged, "bar 1.1")


def memory24(b: Bench) -> None:
    """14B shape as the 24 GB profile has it, under a limit of 24 GB: plan against what is used."""
    how = profile("gpu-24gb")
    dit = transformer(b, "14b", "B").cpu()
    c = dit.config
    width, height = (8 * shape(b, "14b")[6], 8 * shape(b, "14b")[5])
    demand = Demand(card("flashtalk-14b"), c, vae_config(b), how, b.half, (height, width))
    told = working_memory(demand)
    if b.cuda:
        total = torch.cuda.get_device_properties(b.device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(24e9 / total, 1.0), b.device)
        torch.cuda.reset_peak_memory_stats(b.device)
    with torch.device(b.device):
        vae = WanVae(vae_config(b)).to(b.half).eval().requires_grad_(False)
    limit = int(how.offload_gib * GIB)
    outside = sum(p.nbytes for n, p in dit.named_parameters() if not n.startswith("blocks."))
    left = limit - told.total - outside - sum(p.nbytes for p in vae.parameters())
    made = accelerate(dit, vae, how, b.device, {True: left, False: left})
    b.row("switched on", good=True, note="; ".join(made.notices))
    forward = step(dit, given(b, dit, "14b"), made.pace.attends[0])
    out = forward()
    b.row("finite", good=bool(torch.isfinite(out).all()))
    b.row("one step", b.seconds(forward, 2), "s", note=b.peak())
    latents = b.noise(1, 16, 2, height // 8, width // 8, dtype=torch.float32)
    VaeDecoder(vae, made.decode).push(latents)
    if b.cuda:
        used = torch.cuda.max_memory_reserved(b.device)
        b.row("the allocator's peak within the budget", used / GIB, "GiB", used <= limit)
        b.row("share of the budget that is used", used / limit, good=used >= 0.9 * limit)


def resident14(b: Bench) -> None:
    """14B shape in 16 bits, resident: the yardstick of the 24 GB mode."""
    if b.cuda and torch.cuda.mem_get_info(b.device)[0] < 60 * GIB:
        raise Absent("60 GiB of device memory are needed")
    dit = transformer(b, "14b", "B")
    taken = b.seconds(step(dit, given(b, dit, "14b"), attention(b, dit)), 2)
    b.bar("three steps, without decoding", 28 / (3 * taken), "frames/s", 6, b.peak())


def host(b: Bench) -> None:
    """Quantising where offloaded weights lie: what every start of the 24 GB profile takes."""
    on_host = Bench("cpu", b.tiny)
    on_host.half = b.half
    dit = transformer(on_host, "14b", depth=4)
    taken = on_host.seconds(lambda: _quantised(dit), 1)
    b.row("int8 of four 14B blocks on the host", taken, "s", note=f"forty take {10 * taken:.0f} s")


def _quantised(dit: torch.nn.Module) -> None:
    layers = replace(Quantization("int8-dynamic"), layers=("blocks.*",))
    if any(isinstance(m, torch.nn.Linear) for m in dit.blocks.modules()):  # type: ignore[union-attr]
        quantize(dit, layers)
