"""The reference picture for layout B: the 257 tokens of CLIP ViT-H, last but one layer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.errors import ModelMismatch
from pipeline.models.wan.config import family
from pipeline.models.wan.encoders.pretrained import pretrained
from pipeline.weights.files import Hollow, Source, TensorInfo, open_weights
from pipeline.weights.loading import differences, expected_shapes

_BLOCK = {
    "norm1": "layer_norm1", "norm2": "layer_norm2", "attn.proj": "self_attn.out_proj",
    "mlp.0": "mlp.fc1", "mlp.2": "mlp.fc2",
}  # fmt: skip
_TOP = {
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "patch_embedding.weight": "embeddings.patch_embedding.weight",
    "pre_norm.weight": "pre_layrnorm.weight", "pre_norm.bias": "pre_layrnorm.bias",
    "post_norm.weight": "post_layernorm.weight", "post_norm.bias": "post_layernorm.bias",
}  # fmt: skip


class PictureEncoder:
    """A picture in [-1, 1] -> CLIP tokens (1, 257, 1280)."""

    def __init__(self, model: Any) -> None:
        self._model = model

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> Tensor:
        """(1, 3, H, W) in [-1, 1] -> float32 tokens; the last layer and its norm are not used."""
        size = self._model.config.image_size
        parameter = next(self._model.parameters())
        scaled = F.interpolate(picture.float(), size=(size, size), mode="bicubic")
        mean, std = (scaled.new_tensor(family()["clip"][key]).view(1, 3, 1, 1)
                     for key in ("mean", "std"))  # fmt: skip
        pixels = ((scaled * 0.5 + 0.5 - mean) / std).to(parameter)
        states = self._model(pixels, output_hidden_states=True).hidden_states
        return states[-2].float()  # type: ignore[no-any-return]


def load_picture_encoder(
    weights: Path, dtype: torch.dtype = torch.float16, device: str = "cpu"
) -> PictureEncoder:
    """CLIP from its published file, or from a transformers folder."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model: Any
    if weights.is_dir() and (weights / "config.json").is_file():
        model = pretrained(CLIPVisionModel, weights, dtype)
    else:
        state = vision_state(open_weights(weights))
        model = CLIPVisionModel(CLIPVisionConfig(**vision_sizes(state)))
        fill_vision(model, state)
        model = model.to(dtype)
    return PictureEncoder(model.to(device).eval())


def vision_state(source: Source) -> dict[str, Tensor]:
    """The picture half of the published CLIP, under transformers' names; text is left unread."""
    out: dict[str, Tensor] = {}
    for raw in source.infos:
        if not raw.startswith("visual.") or raw == "visual.head":
            continue
        name = raw.removeprefix("visual.")
        block = re.fullmatch(r"transformer\.(\d+)\.(.+)\.(weight|bias)", name)
        value = source.read(raw)
        if block and block[2] == "attn.to_qkv":
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                out[f"encoder.layers.{block[1]}.self_attn.{part}_proj.{block[3]}"] = piece
        elif block and block[2] in _BLOCK:
            out[f"encoder.layers.{block[1]}.{_BLOCK[block[2]]}.{block[3]}"] = value
        elif name in _TOP:
            out[_TOP[name]] = value.squeeze(0) if name == "pos_embedding" else value
        else:
            raise ModelMismatch(f"this is not the family's CLIP: unexpected {raw}")
    if "embeddings.class_embedding" not in out:
        raise ModelMismatch("this is not the family's CLIP: visual.cls_embedding is missing")
    out["embeddings.class_embedding"] = out["embeddings.class_embedding"].flatten()
    return out


def vision_sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The sizes of a CLIP vision tower from its tensors."""
    try:
        width, _, patch, _ = state["embeddings.patch_embedding.weight"].shape
        tokens = state["embeddings.position_embedding.weight"].shape[0]
        inner = state["encoder.layers.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ModelMismatch(f"this is not the family's CLIP: {error} is missing") from error
    depth = 1 + max(int(n.split(".")[2]) for n in state if n.startswith("encoder.layers."))
    return {
        "hidden_size": width, "patch_size": patch, "num_hidden_layers": depth,
        "image_size": round((tokens - 1) ** 0.5) * patch, "intermediate_size": inner,
        "num_attention_heads": max(width // 80, 1), "hidden_act": "gelu",
    }  # fmt: skip


def vision_differences(source: Source) -> str:
    """What of the published picture encoder is missing, unexpected or mis-shaped; nothing is read.
    One of transformers' own is compared when it is loaded."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    if not any(name.startswith("visual.") for name in source.infos):
        return ""
    state = vision_state(Hollow(source))
    with torch.device("meta"):
        model: Any = CLIPVisionModel(CLIPVisionConfig(**vision_sizes(state)))
    wanted = {name.removeprefix("vision_model."): shape
              for name, shape in expected_shapes(model).items()}  # fmt: skip
    nowhere = Path("visual")
    return differences(wanted, {name: TensorInfo(tuple(value.shape), value.dtype, nowhere)
                                for name, value in state.items()})  # fmt: skip


def fill_vision(model: Any, state: Mapping[str, Tensor]) -> None:
    """Load strictly, whichever prefix this version of transformers uses."""
    prefix = (
        "vision_model." if any(n.startswith("vision_model.") for n in model.state_dict()) else ""
    )
    try:
        model.load_state_dict({prefix + name: value for name, value in state.items()}, strict=True)
    except RuntimeError as error:
        raise ModelMismatch(f"the picture encoder's weights do not fit: {error}") from error
