"""The prompt, encoded once a session: umT5 through transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from pipeline.errors import ModelMismatch, ModelUnknown
from pipeline.models.wan.checkpoint.key_mapping import text_from_original, unwrapped
from pipeline.models.wan.encoders.pretrained import pretrained
from pipeline.weights.files import RenamedSource, Source, open_weights
from pipeline.weights.loading import expected_shapes

KEPT: Final = 16  # prompts; one may be 8 MiB
Tokenize = Callable[[str], list[int]]


class PromptEncoder:
    """Prompt -> (1, tokens, 4096), without padding (the transformer pads with zeros itself)."""

    def __init__(self, model: Any, tokenize: Tokenize, limit: int) -> None:
        self._model, self._tokenize, self._limit = model, tokenize, limit
        self._known: dict[str, Tensor] = {}  # the oldest first

    @torch.no_grad()
    def __call__(self, prompt: str) -> Tensor:
        """Float32; a prompt is encoded once while it is among the last ``KEPT``."""
        clean = " ".join(prompt.split())
        known = self._known.pop(clean, None)
        if known is None:
            tokens = self._tokenize(clean)
            if len(tokens) > self._limit:
                tokens = [*tokens[: self._limit - 1], tokens[-1]]  # its end is told all the same
            device = next(self._model.parameters()).device
            known = self._model(torch.tensor([tokens], device=device)).last_hidden_state.float()
        self._known[clean] = known
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        return known


def load_prompt_encoder(
    weights: Path, tokenizer: Path, limit: int, dtype: torch.dtype = torch.bfloat16,
    device: str = "cpu",
) -> PromptEncoder:  # fmt: skip
    """umT5 from its published file (or a transformers folder) and the folder of its tokenizer."""
    from transformers import AutoTokenizer, UMT5Config, UMT5EncoderModel

    model: Any
    if not tokenizer.is_dir():
        raise ModelUnknown(f"{tokenizer} does not exist: the prompt needs its tokenizer")
    if weights.is_dir() and (weights / "config.json").is_file():
        model = pretrained(UMT5EncoderModel, weights, dtype)
    else:
        source = original_text(open_weights(weights))
        with torch.device("meta"):
            model = UMT5EncoderModel(UMT5Config(**text_sizes(source)))
        fill_text(model, source, dtype)
    ready = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    return PromptEncoder(model.to(device).eval(), lambda text: list(ready(text).input_ids), limit)


def original_text(source: Source) -> Source:
    """The published file under transformers' names."""
    return RenamedSource(source, lambda name: text_from_original(unwrapped(name)))


def text_sizes(source: Source) -> dict[str, Any]:
    """The sizes of a umT5 encoder from its tensors."""
    infos, first = source.infos, "encoder.block.0.layer"
    try:
        vocabulary, width = infos["shared.weight"].shape
        buckets, heads = infos[f"{first}.0.SelfAttention.relative_attention_bias.weight"].shape
        inner = infos[f"{first}.0.SelfAttention.q.weight"].shape[0]
        hidden = infos[f"{first}.1.DenseReluDense.wi_0.weight"].shape[0]
    except KeyError as error:
        raise ModelMismatch(f"this is no umT5 encoder: {error} is missing") from error
    depth = 1 + max(int(n.split(".")[2]) for n in infos if n.startswith("encoder.block."))
    return {
        "vocab_size": vocabulary, "d_model": width, "d_kv": inner // heads, "d_ff": hidden,
        "num_layers": depth, "num_heads": heads, "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
    }  # fmt: skip


def text_shapes(source: Source) -> dict[str, tuple[int, ...]]:
    """What a umT5 encoder of these sizes consists of; its embedding counts once."""
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        model: Any = UMT5EncoderModel(UMT5Config(**text_sizes(source)))
    names: dict[str, tuple[int, ...]] = expected_shapes(model)
    names.pop("encoder.embed_tokens.weight", None)
    return names


def fill_text(model: Any, source: Source, dtype: torch.dtype) -> None:
    """Load strictly; the two names of the embedding share one tensor."""
    state = {name: source.read(name).to(dtype) for name in source.infos}
    twin = "encoder.embed_tokens.weight"
    if twin in model.state_dict() and "shared.weight" in state:
        state[twin] = state["shared.weight"]
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelMismatch(f"the text encoder's weights do not fit: {error}") from error
    model.tie_weights()
