"""The networks of a checkpoint, from its files: strictly, and refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from pipeline.acceleration.profile import Acceleration
from pipeline.errors import ModelMismatch, ModelUnknown
from pipeline.models.wan.checkpoint.files import WanFiles
from pipeline.models.wan.checkpoint.key_mapping import vae_rename
from pipeline.models.wan.checkpoint.memory import Budget, MemoryPlan, budget, plan_memory
from pipeline.models.wan.checkpoint.working_memory import Demand
from pipeline.models.wan.config import WanConfig
from pipeline.models.wan.encoders.image import load_picture_encoder
from pipeline.models.wan.encoders.prompt import load_prompt_encoder
from pipeline.models.wan.encoders.speech import SpeechEncoder
from pipeline.models.wan.identify import inspect, transformer_source
from pipeline.models.wan.model_cards import Card, card, counted
from pipeline.models.wan.network.dit import WanDiT, keep_float32
from pipeline.models.wan.vae.autoencoder import WanVae, vae_from_shapes
from pipeline.models.wan.vae.taehv import TinyDecoder, load_tiny
from pipeline.weights.files import RenamedSource, Source, open_weights
from pipeline.weights.loading import free_memory, load_into

GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class WanModel:
    """The networks of a checkpoint."""

    card: Card
    dit: WanDiT
    vae: WanVae
    speech: SpeechEncoder
    prompt: Callable[[str], Tensor]
    picture: Callable[[Tensor], Tensor] | None = None
    tiny: TinyDecoder | None = None
    plan: MemoryPlan | None = None  # of a CUDA device


def only_candidate(path: Path) -> Card:
    report = inspect(path)
    if len(report.candidates) == 1:
        return card(report.candidates[0])
    if report.candidates:
        raise ModelUnknown(f"{path} may be {', '.join(report.candidates)}: name one")
    advice = ": name the card that it descends from, or one of your own, and add --force"
    raise ModelMismatch(f"{path} is no published checkpoint: {report.kind}; "
                        + "; ".join(report.problems)
                        + advice * (report.complete and report.layout in ("A", "B")))  # fmt: skip


def load_model(
    files: WanFiles,
    chosen: Card,
    device: str,
    dtype: torch.dtype,
    how: Acceleration | None = None,
    force: bool = False,
) -> WanModel:
    """All networks, strictly; nothing is read before everything was found and fits. The transformer
    and the prompt encoder are in host memory where blocks are offloaded. ``force`` takes a
    transformer of another width or depth than the card's."""
    speed = how or Acceleration()
    near = "cpu" if speed.offload_gib else device
    source, config = merged_transformer(files, chosen, force)
    parts = budget(files, chosen, source, config, dtype)
    parts.check(device, near)
    plan = None
    if torch.device(device).type == "cuda":
        plan = _plan(files, chosen, config, dtype, speed, device, parts)
    dit = load_transformer(source, config, near, dtype)
    limit = config.text_tokens
    return WanModel(
        card=chosen,
        dit=dit,
        vae=load_vae(files.vae, device, dtype),
        speech=SpeechEncoder.load(files.speech, chosen.layout, device),
        prompt=load_prompt_encoder(files.text, files.tokenizer, limit, torch.bfloat16, near),
        picture=load_picture_encoder(files.image, device=device) if files.image else None,
        tiny=load_tiny(files.tiny, device) if files.tiny else None,
        plan=plan,
    )


def _plan(
    files: WanFiles, chosen: Card, config: WanConfig, dtype: torch.dtype, how: Acceleration,
    device: str, parts: Budget,
) -> MemoryPlan:  # fmt: skip
    """For the largest size that fits into what is free, or into what the profile allows."""
    limit = free_memory(device)
    if how.offload_gib:
        limit = min(limit, int(how.offload_gib * GIB))
    vae = vae_from_shapes({k: v.shape for k, v in _vae_source(files.vae).infos.items()})
    sizes = sorted(chosen.sizes, key=lambda size: size[0] * size[1], reverse=True)
    demands = [Demand(chosen, config, vae, how, dtype, size) for size in sizes]
    plan = plan_memory(parts, demands, limit, device)
    if how.offload_gib:
        plan.check_host(parts, device)
    return plan


def merged_transformer(
    files: WanFiles, chosen: Card, force: bool = False
) -> tuple[Source, WanConfig]:
    """The transformer's tensors, adapter merged, checked against its card; nothing is read yet."""
    alpha = chosen.adapter.alpha if chosen.adapter else None
    source, config = transformer_source(files.transformer, files.adapter, alpha)
    _, count = counted({name: info.numel for name, info in source.infos.items()})
    told, found = (chosen.layout, chosen.parameters), (config.layout, count)
    if told[0] != found[0] or (told != found and not force):
        advice = "" if told[0] != found[0] else ". Add --force to run them by its recipe"
        raise ModelMismatch(
            f"{chosen.title} has layout {told[0]} and {told[1]:,} parameters, these weights have "
            f"layout {found[0]} and {found[1]:,}{advice}"
        )
    return source, config


def departs(model: WanModel) -> str:
    """What a forced transformer has instead of its card's sizes; empty where it has those."""
    _, count = counted({name: p.numel() for name, p in model.dit.named_parameters()})
    if count == model.card.parameters:
        return ""
    config, published = model.dit.config, model.card
    return (
        f"{count:,} parameters ({config.dim} wide, {config.depth} blocks, {config.heads} heads) "
        f"run by the recipe of {published.title}, which has {published.parameters:,}"
    )


def load_transformer(source: Source, config: WanConfig, device: str, dtype: torch.dtype) -> WanDiT:
    """The transformer of ``merged_transformer``, strictly."""
    with torch.device("meta"):
        dit = WanDiT(config)
    load_into(dit, source, dtype=dtype, device=device, keep_float32=keep_float32)
    return dit.eval()


def _vae_source(path: Path) -> Source:
    raw = open_weights(path)
    return RenamedSource(raw, vae_rename(raw.infos))


def load_vae(path: Path, device: str, dtype: torch.dtype) -> WanVae:
    """The autoencoder, under original or diffusers names."""
    source = _vae_source(path)
    with torch.device("meta"):
        vae = WanVae(vae_from_shapes({k: v.shape for k, v in source.infos.items()}))
    load_into(vae, source, dtype=dtype, device=device)
    return vae.eval()
