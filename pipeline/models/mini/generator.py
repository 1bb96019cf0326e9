"""The networks of a model together, and their file: audio and prompt encoder, VAE, DiT."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import ModelDamaged
from pipeline.models.mini.audio import AudioEncoder
from pipeline.models.mini.config import MODELS, ModelConfig
from pipeline.models.mini.dit import DiT
from pipeline.models.mini.text import PromptEncoder
from pipeline.models.mini.vae import PART_COUNT, MotionVae


class Generator(nn.Module):
    """All weights of the bundled model; ``reference_dim`` is the length of an anchor's vector."""

    def __init__(self, config: ModelConfig, reference_dim: int) -> None:
        super().__init__()
        self.config = config
        self.audio = AudioEncoder(config.audio)
        self.text = PromptEncoder(config.text, config.dit.dim)
        self.vae = MotionVae(config.vae)
        self.dit = DiT(
            config.dit, config.vae.channels, PART_COUNT, config.audio.embed_dim, reference_dim
        )


def load_generator(config: ModelConfig, reference_dim: int, path: Path | None = None) -> Generator:
    """The generator with its weights, in eval mode.

    Raises ``ModelDamaged`` if the file is missing, damaged, or holds other tensors than the
    configuration asks for; the message lists them.
    """
    source = path or MODELS / config.weights
    if not source.is_file():
        raise ModelDamaged(f"{source} is missing: reinstall the package, or run `make train`")
    try:
        tensors = load_file(source)
    except SafetensorError as error:
        raise ModelDamaged(f"{source} is damaged: {error}. Fetch it again") from error
    model = Generator(config, reference_dim)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [
        f"{name} {tuple(tensors[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own.keys() & tensors.keys()
        if own[name].shape != tensors[name].shape
    ]
    if missing or unexpected or wrong:
        raise ModelDamaged(
            f"{source} does not fit {config.name}: missing {missing}, unexpected {unexpected}, "
            f"mis-shaped {wrong}"
        )
    model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    return model.eval()


def save_generator(tensors: dict[str, Tensor], path: Path) -> None:
    """Write weights as float16, whole or not at all."""
    part = path.with_suffix(".part")
    save_file({k: v.half().contiguous() for k, v in tensors.items()}, part)
    part.replace(path)
