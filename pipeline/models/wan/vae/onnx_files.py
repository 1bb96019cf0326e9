"""Exported decoders that lie beside a checkpoint: made and measured once, checked at every start.

One folder a size of picture, ``decoder/WIDTHxHEIGHT``: the files of ``vae_onnx`` and ``vae_int8``,
and a sample, two latents of speech with the frames that torch makes of them. Exporting takes a
minute and decoding by torch more than that, so which runtime is fastest is measured when they are
made, and written down; at the start of a server each decoder only has to repeat its sample.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import BackendRefused, ModelUnknown
from pipeline.models.wan.vae.autoencoder import VaeDecoder, WanVae
from pipeline.models.wan.vae.onnx import LATER, LATER_INT8, OnnxDecoder, export_decoder
from pipeline.models.wan.vae.onnx_int8 import quantize_decoder

FOLDER: Final = "decoder"
SAMPLE: Final = "sample.npz"
LATERS: Final = {"onnx": LATER, "onnx-int8": LATER_INT8}
FLOORS: Final = {"onnx": 60.0, "onnx-int8": 36.0}  # least PSNR of the sample, dB
Size = tuple[int, int]  # width, height


@dataclass(frozen=True, slots=True)
class Trial:
    """One way to decode: seconds of processor time for a later latent, PSNR against torch."""

    runtime: str  # "" for torch
    seconds: float
    psnr: float


def psnr(found: Tensor, exact: Tensor) -> float:
    """Of frames in [-1, 1], dB."""
    error = float((found.float() - exact.float()).square().mean())
    return math.inf if error == 0 else 10 * math.log10(4 / error)


def make_decoders(vae: WanVae, home: Path, latents: Tensor) -> list[Trial]:
    """Export the decoder for the size of ``latents`` (1, 16, T, h, w) of a video that speaks, T at
    least 4, on a CPU; quantise on all but the last two, measure on those, and keep a sample. The
    fastest acceptable one is first.

    Raises ``BackendRefused`` where packages are missing.
    """
    if latents.shape[2] < 4:
        raise ValueError(f"{latents.shape[2]} latents of speech are too few, 4 are wanted")
    height, width = 8 * latents.shape[3], 8 * latents.shape[4]
    folder = home / FOLDER / f"{width}x{height}"
    export_decoder(vae, folder, height, width)
    quantize_decoder(folder, latents[:, :, :-2])
    decoders: dict[str, VaeDecoder | OnnxDecoder] = {"": VaeDecoder(vae)}
    decoders |= {runtime: _open(folder, runtime) for runtime in LATERS}
    frames = {runtime: decoder.push(latents) for runtime, decoder in decoders.items()}
    np.savez(
        folder / SAMPLE, latents=latents[:, :, :2].numpy(), frames=frames[""][:, :, :5].numpy()
    )
    tried = [
        Trial(runtime, _seconds(decoder, latents), psnr(frames[runtime][:, :, -8:],
                                                        frames[""][:, :, -8:]))
        for runtime, decoder in decoders.items()
    ]  # fmt: skip
    return sorted(tried, key=lambda t: (t.psnr < FLOORS.get(t.runtime, 0.0), t.seconds))


def _seconds(decoder: VaeDecoder | OnnxDecoder, latents: Tensor) -> float:
    """Processor time of one more latent, the better of two."""
    taken = []
    for _ in range(2):
        start = time.process_time()
        decoder.push(latents[:, :, -1:])
        taken.append(time.process_time() - start)
    return min(taken)


def _open(folder: Path, runtime: str) -> OnnxDecoder:
    return OnnxDecoder(folder, threads=torch.get_num_threads(), later=LATERS[runtime])


def find_decoders(
    home: Path | None, runtime: str, device: torch.device
) -> tuple[dict[Size, OnnxDecoder], list[str]]:
    """The decoders beside a checkpoint that repeat their sample, by size, and what is to be told.
    The sizes of those that do not are decoded by torch, and so is everything on a GPU: they were
    measured on a CPU."""
    if device.type != "cpu":
        return {}, [f"decoder by torch: {runtime} was measured on a CPU, this is {device}"]
    folders = sorted((home / FOLDER).glob("*x*")) if home else []
    found: dict[Size, OnnxDecoder] = {}
    told = [] if folders else [f"no exported decoder for {runtime}: python -m pipeline.calibrate "
                               "--export makes one"]  # fmt: skip
    for folder in folders:
        width, height = (int(part) for part in folder.name.split("x"))
        try:
            decoder = _open(folder, runtime)
            closeness = _check(decoder, folder, runtime)
        except (BackendRefused, ModelUnknown) as refusal:
            told.append(f"decoder {folder.name} by torch: {refusal}")
            continue
        found[width, height] = decoder
        told.append(f"decoder {folder.name} by {runtime}, {closeness:.0f} dB")
    return found, told


def _check(decoder: OnnxDecoder, folder: Path, runtime: str) -> float:
    """PSNR of the sample; refuses what is below the floor."""
    path = folder / SAMPLE
    if not path.is_file():
        raise ModelUnknown(f"no {SAMPLE} in {folder}")
    with np.load(path, allow_pickle=False) as sample:
        latents, frames = (torch.from_numpy(sample[key]) for key in ("latents", "frames"))
    closeness = psnr(decoder.push(latents), frames)
    decoder.reset()
    if not closeness >= FLOORS[runtime]:
        raise BackendRefused(f"{runtime} is within {closeness:.0f} dB of its sample, at least "
                             f"{FLOORS[runtime]:.0f} are wanted")  # fmt: skip
    return closeness
