"""What weights are, from their headers alone: kind, completeness, memory and published checkpoint.

Nothing is loaded; ``pipeline.models.inspect`` is the command that prints it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from pipeline.errors import ModelMismatch
from pipeline.models.wan.checkpoint.checksums import compared, sha256_of
from pipeline.models.wan.checkpoint.key_mapping import (
    NESTS,
    adapter_rename,
    transformer_rename,
    unwrapped,
    vae_rename,
)
from pipeline.models.wan.config import UNTOLD, WanConfig, config_from_shapes
from pipeline.models.wan.encoders.image import vision_differences
from pipeline.models.wan.encoders.prompt import original_text, text_shapes
from pipeline.models.wan.encoders.speech import speech_differences
from pipeline.models.wan.model_cards import Card, candidates, card
from pipeline.models.wan.network.dit import WanDiT, keep_float32
from pipeline.models.wan.vae.autoencoder import WanVae, published_vae
from pipeline.models.wan.vae.taehv import TinyDecoder, decoder_part
from pipeline.weights.files import (
    RenamedSource,
    Source,
    TensorInfo,
    open_weights,
    stated_config,
)
from pipeline.weights.loading import differences, expected_shapes
from pipeline.weights.lora import LoraSource, is_adapter

TYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(slots=True)
class Report:
    """What is known of a path from its headers."""

    path: str
    kind: str  # transformer, adapter, vae, text encoder, image encoder, speech encoder, unknown
    tensors: int
    parameters: int
    file_bytes: int
    types: dict[str, int]
    layout: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    complete: bool = True
    problems: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)  # without a config.json that tells
    memory: dict[str, int] = field(default_factory=dict)  # bytes of the weights by type
    candidates: list[str] = field(default_factory=list)
    licenses: dict[str, str] = field(default_factory=dict)
    bring: dict[str, str] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)  # beside what is known of the file


_MARKS: Final = {  # a name that only this kind of file has
    "transformer": ("patch_embedding.weight", "blocks.0.self_attn.q.weight"),
    "vae": ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma"),
    "text encoder": ("token_embedding.weight", "shared.weight"),
    "image encoder": ("visual.patch_embedding.weight",
                      "vision_model.embeddings.patch_embedding.weight"),
    "speech encoder": ("wav2vec2.feature_extractor.conv_layers.0.conv.weight",
                       "feature_extractor.conv_layers.0.conv.weight"),
    "tiny decoder": ("decoder.1.weight",),
}  # fmt: skip


def kind_of(infos: Mapping[str, TensorInfo]) -> str:
    """What sort of network these tensors are."""
    if is_adapter(infos) and not any(".base_layer." in name for name in infos):
        return "adapter"
    names = {unwrapped(name).replace(".base_layer.", ".") for name in infos} | set(infos)
    for kind, marks in _MARKS.items():
        if any(mark in names for mark in marks):
            return kind
    audio = any(name.startswith("audio_proj.") for name in names)
    return "adapter" if audio else "unknown"


def inspect(path: Path, checksums: bool = False) -> Report:
    """Describe weights from their headers. Raises a ``ModelError`` for what cannot be opened."""
    path = transformer_folder(path)
    source = open_weights(path, NESTS)
    infos = source.infos
    files = sorted({info.file for info in infos.values()})
    report = Report(
        path=str(path),
        kind=kind_of(infos),
        tensors=len(infos),
        parameters=sum(info.numel for info in infos.values()),
        file_bytes=sum(file.stat().st_size for file in files),
        types=dict(Counter(str(info.dtype).removeprefix("torch.") for info in infos.values())),
    )
    if report.kind == "transformer":
        _describe_transformer(report, source, path)
    elif report.kind in _PARTS:
        try:
            _fault(report, _PARTS[report.kind](source))
        except ModelMismatch as error:
            _fault(report, str(error))
        except OSError as error:
            _fault(report, f"its config.json cannot be read: {str(error)[:200]}")
        except ModuleNotFoundError as missing:
            report.problems.append(f"not compared tensor by tensor: {missing.name} is missing")
    elif report.kind == "unknown":
        report.complete = False
        report.problems.append(
            "no known architecture: expected a Wan transformer, its VAE, encoders, or an adapter; "
            f"first names: {', '.join(sorted(infos)[:3])}"
        )
    if not report.memory:
        report.memory = {name: report.parameters * kind.itemsize for name, kind in TYPES.items()}
    if checksums:
        report.sha256 = {file.name: sha256_of(file) for file in files}
    for file in files:
        words, fault = compared(file, report.sha256.get(file.name, ""))
        report.published[file.name] = words
        _fault(report, f"{file.name} is {words}" if fault else "")
    return report


def _vae_differences(source: Source) -> str:
    with torch.device("meta"):
        vae = WanVae(published_vae())
    return differences(expected_shapes(vae), RenamedSource(source, vae_rename(source.infos)).infos)


def _tiny_differences(source: Source) -> str:
    with torch.device("meta"):
        decoder = TinyDecoder()
    return differences(expected_shapes(decoder), decoder_part(source).infos)


def _text_differences(source: Source) -> str:
    named = original_text(source)
    return differences(text_shapes(named), named.infos)


_PARTS: Final[dict[str, Callable[[Source], str]]] = {
    "vae": _vae_differences,
    "tiny decoder": _tiny_differences,
    "text encoder": _text_differences,
    "image encoder": vision_differences,
    "speech encoder": speech_differences,
}


def transformer_folder(path: Path) -> Path:
    """The folder of the transformer itself, where ``path`` holds a whole diffusers pipeline."""
    inner = path / "transformer"
    return inner if inner.is_dir() and not list(path.glob("*.safetensors")) else path


def transformer_source(
    path: Path, adapter: Path | None = None, alpha: float | None = None
) -> tuple[Source, WanConfig]:
    """A transformer's tensors in original names, adapter merged, and the sizes they tell."""
    path = transformer_folder(path)
    raw = open_weights(path, NESTS)
    source: Source = RenamedSource(raw, transformer_rename(raw.infos))
    if adapter is not None:
        change = open_weights(adapter, NESTS)
        told = stated_config(adapter).get("lora_alpha", alpha)
        source = LoraSource(source, RenamedSource(change, adapter_rename(change.infos)), told)
    elif is_adapter(source.infos):
        source = LoraSource(None, source, stated_config(path).get("lora_alpha", alpha))
    stated = stated_config(path)
    if adapter is not None:  # the adapter changes what the base's shapes tell
        stated = {key: stated[key] for key in UNTOLD if key in stated}
    shapes = {name: info.shape for name, info in source.infos.items()}
    return source, config_from_shapes(shapes, stated)


def _describe_transformer(report: Report, source: Source, path: Path) -> None:
    alpha = card("avatarforcing-1.3b").adapter
    try:
        merged, config = transformer_source(path, alpha=alpha.alpha if alpha else None)
        with torch.device("meta"):
            model = WanDiT(config)
    except (ModelMismatch, ValueError) as error:
        report.complete = False
        report.problems.append(str(error))
        return
    shapes = expected_shapes(model)
    report.layout, report.config = config.layout, asdict(config)
    report.assumed = list(config.assumed)
    _fault(report, differences(shapes, merged.infos))
    report.tensors = len(merged.infos)
    report.parameters = sum(info.numel for info in merged.infos.values())
    wide = sum(p.numel() for name, p in model.named_parameters() if keep_float32(name))
    total = sum(p.numel() for p in model.parameters())
    report.memory = {name: 4 * wide + kind.itemsize * (total - wide)
                     for name, kind in TYPES.items()}  # fmt: skip
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    _name_candidates(report, candidates(config.layout, sizes))


def _name_candidates(report: Report, cards: tuple[Card, ...]) -> None:
    """Cards of these counts; where the path names one of them, that one alone."""
    named = tuple(c for c in cards if c.name.split("-")[0] in report.path.lower())
    cards = named or cards
    report.candidates = [c.name for c in cards]
    report.licenses = {c.name: str(c.license) for c in cards}
    for c in cards:
        report.bring.update({k: v for k, v in c.files.items()
                             if k not in ("transformer", "base", "adapter")})  # fmt: skip
    if report.layout == "base":
        report.problems.append(
            "this model hears nothing: it is the base of an adapter (OmniAvatar, MultiTalk, "
            "InfiniteTalk)"
        )


def _fault(report: Report, wrong: str) -> None:
    if wrong:
        report.complete = False
        report.problems.append(wrong)
