"""Sizes of a Wan checkpoint, read from the shapes of its tensors.

No shape tells heads and text length. They come from a ``config.json`` beside the weights; without
one they are those of every published checkpoint, and said to be assumed. Where both the file and
the tensors speak, they have to agree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

from pipeline.errors import ModelMismatch

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

UNTOLD: Final = ("num_heads", "num_attention_heads", "attention_head_dim", "text_len", "eps")
FIXED: Final = {  # settings under which the published layouts are built; others are refused
    "qk_norm": (True, "rms_norm_across_heads"), "cross_attn_norm": (True,),
    "window_size": ([-1, -1],), "vae_scale": (4,),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class AddedAudio:
    """Layout A: one vector a latent, added to every token before some blocks."""

    channels: int  # of one video frame's speech features
    hidden: int
    injections: int  # blocks 2 ... injections + 1


@dataclass(frozen=True, slots=True)
class AttendedAudio:
    """Layout B: ``tokens`` a latent, attended to in every block."""

    channels: int  # wav2vec layers times their width
    window: int  # video frames around each
    hidden: int
    tokens: int
    token_dim: int
    norm: bool


@dataclass(frozen=True, slots=True)
class WanConfig:
    """One transformer. ``heads`` must divide ``dim``."""

    dim: int
    ffn_dim: int
    depth: int
    heads: int
    in_channels: int
    latent_channels: int
    text_dim: int
    text_tokens: int
    freq_dim: int
    patch: tuple[int, int, int]
    eps: float
    image_dim: int | None = None  # CLIP width; None: no image branch
    audio: AddedAudio | AttendedAudio | None = None
    memory: int | None = None  # kernel of per-block memory convolutions (LiveAct)
    assumed: tuple[str, ...] = field(default=(), compare=False)  # what neither file nor shapes told

    def __post_init__(self) -> None:
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"dim {self.dim} does not split into {self.heads} even heads")
        if isinstance(self.audio, AddedAudio) and self.audio.injections > self.depth - 2:
            raise ValueError(
                f"{self.audio.injections} audio projections need {self.audio.injections + 2} "
                f"blocks, not {self.depth}"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def layout(self) -> str:
        """``"A"``, ``"B"``, or ``"base"`` for a model without audio."""
        if self.audio is None:
            return "base"
        return "A" if isinstance(self.audio, AddedAudio) else "B"


@cache
def family() -> dict[str, Any]:
    """Numbers that all checkpoints of the family share."""
    return tomllib.loads((Path(__file__).parent / "family.toml").read_text())


def temporal_stride() -> int:
    """Video frames per latent."""
    return int(family()["stride"][0])


def _depth(shapes: Shapes) -> int:
    found = {int(name.split(".")[1]) for name in shapes if name.startswith("blocks.")}
    if not found or found != set(range(len(found))):
        raise ModelMismatch(f"blocks are numbered {sorted(found)[:5]}..., not 0, 1, 2, ...")
    return len(found)


def _audio(shapes: Shapes) -> AddedAudio | AttendedAudio | None:
    if "audio_proj.proj.weight" in shapes:
        hidden, joined = shapes["audio_proj.proj.weight"]
        count = sum(n.startswith("audio_cond_projs.") and n.endswith(".weight") for n in shapes)
        return AddedAudio(joined // temporal_stride(), hidden, count)
    if "audio_proj.proj1_vf.weight" not in shapes:
        return None
    hidden, first = shapes["audio_proj.proj1.weight"]
    later = shapes["audio_proj.proj1_vf.weight"][1]
    channels = (later - first) // (temporal_stride() - 1)
    token_dim = shapes["blocks.0.audio_cross_attn.kv_linear.weight"][1]
    tokens = shapes["audio_proj.proj3.weight"][0] // token_dim
    norm = "audio_proj.norm.weight" in shapes
    return AttendedAudio(channels, first // channels, hidden, tokens, token_dim, norm)


def config_from_shapes(shapes: Shapes, stated: Mapping[str, Any] | None = None) -> WanConfig:
    """The configuration of a state dict in original names; ``stated`` is its ``config.json``.

    Raises ``ModelMismatch`` when the tensors are no Wan transformer or contradict ``stated``, and
    where nothing tells the heads.
    """
    stated, shared = stated or {}, family()["transformer"]
    try:
        dim, in_channels, *patch = shapes["patch_embedding.weight"]
        heads = _heads(dim, stated)
        image = shapes.get("img_emb.proj.1.weight")
        memory = shapes.get("blocks.0.self_attn.memory_proj_k.weight")
        config = WanConfig(
            dim=dim,
            ffn_dim=shapes["blocks.0.ffn.0.weight"][0],
            depth=_depth(shapes),
            heads=heads,
            in_channels=in_channels,
            latent_channels=shapes["head.head.weight"][0] // (patch[0] * patch[1] * patch[2]),
            text_dim=shapes["text_embedding.0.weight"][1],
            text_tokens=_whole({"text_len": shared["text_tokens"], **stated}, "text_len"),
            freq_dim=shapes["time_embedding.0.weight"][1],
            patch=(patch[0], patch[1], patch[2]),
            eps=float(stated.get("eps", shared["eps"])),
            image_dim=image[1] if image else None,
            audio=_audio(shapes),
            memory=memory[-1] if memory else None,
            assumed=_assumed(heads, stated),
        )
    except (KeyError, IndexError, ValueError) as error:
        raise ModelMismatch(
            f"these tensors are no Wan transformer ({error}); first names: "
            f"{', '.join(sorted(shapes)[:3])}"
        ) from error
    _agree(config, stated)
    return config


def _heads(dim: int, stated: Mapping[str, Any]) -> int:
    """How many heads ``dim`` channels split into."""
    said = {key: _whole(stated, key) for key in UNTOLD[:2] if key in stated}
    if "attention_head_dim" in stated:
        said["attention_head_dim"] = dim // _whole(stated, "attention_head_dim")
    if len(set(said.values())) > 1:
        raise ModelMismatch(f"config.json contradicts itself about the heads of {dim} channels: "
                            f"{ {key: stated[key] for key in said} }")  # fmt: skip
    if said:
        return next(iter(said.values()))
    usual = int(family()["transformer"]["head_dim"])
    if dim % usual:
        raise ModelMismatch(
            f"nothing tells how many heads the {dim} channels split into: put a config.json with "
            '"num_heads" beside the weights'
        )
    return dim // usual


def _whole(stated: Mapping[str, Any], key: str) -> int:
    """A count in ``config.json``."""
    value = stated[key]
    if not isinstance(value, int) or value < 1:
        raise ModelMismatch(f"config.json: {key} must be a whole number above 0, not {value!r}")
    return value


def _assumed(heads: int, stated: Mapping[str, Any]) -> tuple[str, ...]:
    shared = family()["transformer"]
    told = any(key in stated for key in UNTOLD[:3])
    lines = [] if told else [f"{heads} heads of {shared['head_dim']}"]
    return (*lines, *([] if "text_len" in stated else [f"{shared['text_tokens']} text tokens"]))


def _agree(config: WanConfig, stated: Mapping[str, Any]) -> None:
    """``config.json`` and the tensors tell the same sizes, or the pair is refused."""
    told = {
        "dim": config.dim, "ffn_dim": config.ffn_dim, "num_layers": config.depth,
        "in_dim": config.in_channels, "out_dim": config.latent_channels,
        "text_dim": config.text_dim, "freq_dim": config.freq_dim,
        "in_channels": config.in_channels, "out_channels": config.latent_channels,
        "attention_head_dim": config.head_dim, "patch_size": list(config.patch),
    }  # fmt: skip
    if isinstance(config.audio, AddedAudio):
        told |= {"audio_hidden_size": config.audio.hidden}
    if isinstance(config.audio, AttendedAudio):
        told |= {
            "audio_window": config.audio.window, "intermediate_dim": config.audio.hidden,
            "context_tokens": config.audio.tokens, "output_dim": config.audio.token_dim,
        }  # fmt: skip
    wrong = [
        f"{key} is {stated[key]} in config.json and {value} in the tensors"
        for key, value in told.items()
        if key in stated and stated[key] != value
    ]
    wrong += [
        f"{key} is {stated[key]} in config.json and must be {allowed[0]}"
        for key, allowed in FIXED.items()
        if key in stated and stated[key] not in allowed
    ]
    if wrong:
        raise ModelMismatch("config.json contradicts the weights: " + "; ".join(wrong))
