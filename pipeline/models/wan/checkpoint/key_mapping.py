"""Other projects' parameter names, translated into the original ones.

Pure: strings in, strings out. A name that is not known comes back unchanged, so that strict
loading lists it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

Rename = Callable[[str], str]

WRAPPERS: Final = ("model.diffusion_model.", "_fsdp_wrapped_module.", "_orig_mod.", "module.",
                   "base_model.model.", "diffusion_model.", "model.")  # fmt: skip
NESTS: Final = ("generator_ema", "generator", "state_dict", "model", "module", "ema")

_DIT: Final = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "proj_out": "head.head",
    "scale_shift_table": "head.modulation",
}
_DIT_BLOCK: Final = {
    "attn1.to_q": "self_attn.q", "attn1.to_k": "self_attn.k", "attn1.to_v": "self_attn.v",
    "attn1.to_out.0": "self_attn.o", "attn1.norm_q": "self_attn.norm_q",
    "attn1.norm_k": "self_attn.norm_k",
    "attn2.to_q": "cross_attn.q", "attn2.to_k": "cross_attn.k", "attn2.to_v": "cross_attn.v",
    "attn2.to_out.0": "cross_attn.o", "attn2.norm_q": "cross_attn.norm_q",
    "attn2.norm_k": "cross_attn.norm_k", "attn2.add_k_proj": "cross_attn.k_img",
    "attn2.add_v_proj": "cross_attn.v_img", "attn2.norm_added_k": "cross_attn.norm_k_img",
    "ffn.net.0.proj": "ffn.0", "ffn.net.2": "ffn.2",
    "norm2": "norm3", "scale_shift_table": "modulation",
}  # fmt: skip
_VAE_TOP: Final = {
    "quant_conv": "conv1", "post_quant_conv": "conv2",
    "encoder.conv_in": "encoder.conv1", "decoder.conv_in": "decoder.conv1",
    "encoder.norm_out": "encoder.head.0", "decoder.norm_out": "decoder.head.0",
    "encoder.conv_out": "encoder.head.2", "decoder.conv_out": "decoder.head.2",
}  # fmt: skip
_VAE_RESIDUAL: Final = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3",
                        "conv2": "residual.6", "conv_shortcut": "shortcut"}  # fmt: skip


def unwrapped(name: str) -> str:
    """Without what training wrappers put before every name."""
    changed = True
    while changed:
        changed = False
        for prefix in WRAPPERS:
            if name.startswith(prefix):
                name, changed = name[len(prefix) :], True
    return name


def _stem(name: str) -> tuple[str, str]:
    """Name without, and the ``.weight`` or the like that it ends in."""
    stem, dot, leaf = name.rpartition(".")
    return (stem, dot + leaf) if leaf in ("weight", "bias", "gamma") else (name, "")


def dit_from_diffusers(name: str) -> str:
    """WanTransformer3DModel's name -> the original one."""
    stem, leaf = _stem(name)
    block = re.fullmatch(r"(blocks\.\d+\.)(.+)", stem)
    if block:
        return block[1] + _DIT_BLOCK.get(block[2], block[2]) + leaf
    return _DIT.get(stem, stem) + leaf


def vae_from_diffusers(name: str) -> str:
    """AutoencoderKLWan's name -> the original one."""
    stem, leaf = _stem(name)
    if stem in _VAE_TOP:
        return _VAE_TOP[stem] + leaf
    middle = re.fullmatch(r"(\w+)\.mid_block\.(resnets|attentions)\.(\d)\.(.+)", stem)
    if middle:
        place = 2 * int(middle[3]) if middle[2] == "resnets" else 1
        return f"{middle[1]}.middle.{place}.{_VAE_RESIDUAL.get(middle[4], middle[4])}{leaf}"
    down = re.fullmatch(r"encoder\.down_blocks\.(\d+)\.(.+)", stem)
    if down:
        return f"encoder.downsamples.{down[1]}.{_VAE_RESIDUAL.get(down[2], down[2])}{leaf}"
    up = re.fullmatch(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.+)", stem)
    if up:
        place = 4 * int(up[1]) + (int(up[3]) if up[2] == "resnets" else 3)
        return f"decoder.upsamples.{place}.{_VAE_RESIDUAL.get(up[4], up[4])}{leaf}"
    return name


def text_from_original(name: str) -> str:
    """The family's umT5 encoder's name -> UMT5EncoderModel's."""
    fixed = {"token_embedding.weight": "shared.weight",
             "norm.weight": "encoder.final_layer_norm.weight"}  # fmt: skip
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)\.weight", name)
    if not block:
        return fixed.get(name, name)
    inner = {
        "norm1": "0.layer_norm", "norm2": "1.layer_norm",
        "attn.q": "0.SelfAttention.q", "attn.k": "0.SelfAttention.k",
        "attn.v": "0.SelfAttention.v", "attn.o": "0.SelfAttention.o",
        "pos_embedding.embedding": "0.SelfAttention.relative_attention_bias",
        "ffn.gate.0": "1.DenseReluDense.wi_0", "ffn.fc1": "1.DenseReluDense.wi_1",
        "ffn.fc2": "1.DenseReluDense.wo",
    }.get(block[2])  # fmt: skip
    return f"encoder.block.{block[1]}.layer.{inner}.weight" if inner else name


def transformer_rename(names: Iterable[str]) -> Rename:
    """How to read a transformer's names, whoever wrote them."""
    if any(unwrapped(name).startswith("condition_embedder.") for name in names):
        return lambda name: dit_from_diffusers(unwrapped(name))
    return unwrapped


def adapter_rename(names: Iterable[str]) -> Rename:
    """How to read an adapter's names: those of the layers that it changes are translated."""
    if not any(".attn1." in name for name in names):
        return unwrapped

    def rename(name: str) -> str:
        layer, mark, rest = re.sub(r"^transformer\.", "", unwrapped(name)).partition(".lora_")
        if not mark:
            return dit_from_diffusers(layer)
        return dit_from_diffusers(f"{layer}.weight").removesuffix(".weight") + mark + rest

    return rename


def vae_rename(names: Iterable[str]) -> Rename:
    """How to read a VAE's names, whoever wrote them."""
    if any(unwrapped(name).startswith("encoder.down_blocks.") for name in names):
        return lambda name: vae_from_diffusers(unwrapped(name))
    return unwrapped
