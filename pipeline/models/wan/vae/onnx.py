"""The streaming decoder as two ONNX files, and a decoder that runs them.

One latent decodes in two ways: the first of a video, which is one frame and leaves a past behind,
and every later one, which reads the past and leaves another. Each way is a file, for one size of
picture; the past goes from run to run on the device that computes.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline import onnx_runtime
from pipeline.errors import BackendRefused, ModelUnknown
from pipeline.models.wan.vae.autoencoder import Past, WanVae

FIRST: Final = "decoder-first.onnx"
LATER: Final = "decoder-later.onnx"
LATER_INT8: Final = "decoder-later-int8.onnx"  # from ``vae_int8``
TOLERANCE: Final = 1e-3  # relative error that a decoder may have against torch


class _Step(nn.Module):
    """One latent, its past as plain tensors, in the order in which layers remember."""

    def __init__(self, vae: WanVae, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.vae = vae
        self.layers = list(layers)

    def forward(self, latent: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        told: Past = dict(zip(self.layers, past, strict=False))
        frames = self.vae.decode_step(latent, told)
        return (frames, *(told[layer] for layer in self.layers))


def _remembering(vae: WanVae, latent: Tensor) -> tuple[list[nn.Module], list[Tensor]]:
    past: Past = {}
    vae.decode_step(latent, past)
    return list(past), list(past.values())


def export_decoder(vae: WanVae, folder: Path, height: int, width: int) -> None:
    """Write the two files for pictures of ``height`` by ``width`` pixels, in the type of ``vae``.

    Raises ``BackendRefused`` where the packages for it are missing.
    """
    for package in ("onnx", "onnxscript"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise BackendRefused(f"exporting the decoder needs {package}: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    latent = torch.zeros(1, vae.config.channels, 1, height // 8, width // 8,
                         device=vae.conv2.weight.device)  # fmt: skip
    with torch.no_grad():
        layers, past = _remembering(vae, latent)
        names = [f"past_{i}" for i in range(len(layers))]
        for file, told in ((FIRST, []), (LATER, past)):
            torch.onnx.export(
                _Step(vae, layers).eval(), (latent, *told), str(folder / file), dynamo=True,
                input_names=["latent", *names[: len(told)]],
                output_names=["frames", *(f"next_{name}" for name in names)], verbose=False,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Session:
    run: Any  # onnxruntime.InferenceSession
    device: str

    def __call__(self, feeds: dict[str, Any]) -> list[Any]:
        """Outputs as OrtValues, where they were computed."""
        binding = self.run.io_binding()
        for name, value in feeds.items():
            binding.bind_ortvalue_input(name, value)
        for output in self.run.get_outputs():
            binding.bind_output(output.name, self.device)
        self.run.run_with_iobinding(binding)
        return list(binding.get_outputs())


class OnnxDecoder:
    """Streaming decode of one video with the face of ``vae.VaeDecoder``.

    ``provider`` "CPUExecutionProvider" or "CUDAExecutionProvider"; ``later`` is the file for all
    latents but the first. Raises ``ModelUnknown`` if the files are not there, ``BackendRefused`` if
    the provider is not.
    """

    def __init__(
        self,
        folder: Path,
        provider: str = "CPUExecutionProvider",
        threads: int = 0,
        later: str = LATER,
    ) -> None:
        missing = [name for name in (FIRST, later) if not (folder / name).is_file()]
        if missing:
            raise ModelUnknown(f"no {', '.join(missing)} in {folder}: export_decoder writes them")
        self._runtime = onnx_runtime.load()
        known = self._runtime.get_available_providers()
        if provider not in known:
            raise BackendRefused(f"ONNX Runtime has no {provider} here, only {', '.join(known)}")
        self._device = "cuda" if provider.startswith("CUDA") else "cpu"
        self._first, self._later = (
            self._open(folder / name, provider, threads) for name in (FIRST, later)
        )
        self.reset()

    def _open(self, path: Path, provider: str, threads: int) -> _Session:
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = self._runtime.InferenceSession(str(path), options, providers=[provider])
        if session.get_providers()[0] != provider:
            raise BackendRefused(f"{path.name} does not run on {provider}")
        return _Session(session, self._device)

    def reset(self) -> None:
        """The next latent starts a video."""
        self._past: list[Any] = []

    def another(self) -> OnnxDecoder:
        """A decoder of another video on the same networks."""
        made = copy.copy(self)
        made.reset()
        return made

    def feeds(self, latents: Tensor) -> list[dict[str, Any]]:
        """What the later file reads for each latent of a video after the first, as arrays."""
        told = []
        for latent in latents.split(1, dim=2):
            if self._past:
                past = {f"past_{i}": value.numpy() for i, value in enumerate(self._past)}
                told.append({"latent": latent.float().cpu().numpy()} | past)
            self._step(latent)
        return told

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """Latents (1, 16, T, h, w) -> their frames (1, 3, T', 8 h, 8 w) in [-1, 1]."""
        steps = [self._step(latents[:, :, i : i + 1]) for i in range(latents.shape[2])]
        return torch.cat(steps, dim=2).to(latents.device)

    def _step(self, latent: Tensor) -> Tensor:
        value = self._runtime.OrtValue.ortvalue_from_numpy(
            latent.float().cpu().contiguous().numpy(), self._device
        )
        feeds = {"latent": value} | {f"past_{i}": past for i, past in enumerate(self._past)}
        frames, *self._past = (self._later if self._past else self._first)(feeds)
        return torch.from_numpy(frames.numpy())


def check_decoder(decoder: OnnxDecoder, vae: WanVae, height: int, width: int) -> float:
    """Relative error against torch on three latents of fresh noise; refuses what errs."""
    from pipeline.models.wan.vae.autoencoder import VaeDecoder

    latents = torch.randn(1, vae.config.channels, 3, height // 8, width // 8)
    decoder.reset()
    ours, exact = decoder.push(latents), VaeDecoder(vae).push(latents)
    decoder.reset()
    error = float((ours - exact).norm() / exact.norm())
    if not error < TOLERANCE:
        raise BackendRefused(
            f"the ONNX decoder errs by {error:.2g}, at most {TOLERANCE} is allowed"
        )
    return error
