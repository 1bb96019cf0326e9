"""Speech features of the published checkpoints: wav2vec2, one vector a video frame.

wav2vec2's convolutions give about 50 vectors a second; they are resampled linearly, ends aligned,
to one per video frame *before* its transformer. Layout A takes the last hidden state and then all
hidden states from the first; layout B the hidden states after each layer.

Both the input normalisation and the transformer use all the samples they are given, so the features
of a moment depend on the samples around it. A stream therefore encodes a window, as the published
live programs do; inside it the features are exactly those of a clip of these samples.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ModelUnknown
from pipeline.models.wan.encoders.pretrained import UNUSED, pretrained
from pipeline.streaming.speech_backlog import rows_of
from pipeline.weights.files import Source
from pipeline.weights.loading import differences, expected_shapes

SAMPLE_RATE: Final = 16_000
LAYOUTS: Final = ("A", "B")
VARIANCE_FLOOR: Final = 1e-7


class _Resampled(nn.Module):
    """The convolutions with their output resampled to ``frames`` columns."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.frames = 0

    def forward(self, samples: Tensor) -> Tensor:
        columns = self.inner(samples)  # (1, C, n)
        return F.interpolate(columns, size=self.frames, mode="linear", align_corners=True)


class SpeechEncoder:
    """wav2vec2 of one layout: samples and a number of frames in, (frames, C) features out.

    ``model`` is a transformers ``Wav2Vec2Model``, which this takes over.
    """

    def __init__(self, model: Any, layout: str, normalise: bool = True) -> None:
        if layout not in LAYOUTS:
            raise ValueError(f"layout must be one of {LAYOUTS}, not {layout!r}")
        self._resampled = _Resampled(model.feature_extractor)
        model.feature_extractor = self._resampled
        self._model = model.eval().requires_grad_(False)
        self._layout, self._normalise = layout, normalise

    @classmethod
    def load(cls, folder: Path, layout: str, device: str = "cpu") -> SpeechEncoder:
        """From a folder as published (``config.json``, weights, ``preprocessor_config.json``)."""
        from transformers import Wav2Vec2Model

        if not (folder / "config.json").is_file():
            raise ModelUnknown(f"{folder} holds no wav2vec2 (no config.json)")
        told = folder / "preprocessor_config.json"
        settings = json.loads(told.read_text()) if told.is_file() else {}
        model = pretrained(Wav2Vec2Model, folder, torch.float32)
        return cls(model.to(device), layout, bool(settings.get("do_normalize", True)))

    @property
    def channels(self) -> int:
        """C of the features."""
        config = self._model.config
        states = config.num_hidden_layers + (2 if self._layout == "A" else 0)
        return int(states * config.hidden_size)

    @torch.no_grad()
    def features(self, pcm: NDArray[np.float32], frames: int) -> Tensor:
        """Float32 mono 16 kHz samples (N,) of ``frames`` video frames -> float32 (frames, C)."""
        samples = np.asarray(pcm, np.float32)
        if self._normalise:
            spread = np.sqrt(samples.var() + VARIANCE_FLOOR)
            samples = (samples - samples.mean()) / spread
        self._resampled.frames = frames
        device = next(self._model.parameters()).device
        given = torch.from_numpy(samples).to(device)[None]
        states = self._model(given, output_hidden_states=True)
        hidden = list(states.hidden_states)
        chosen = [states.last_hidden_state, *hidden] if self._layout == "A" else hidden[1:]
        return torch.cat(chosen, dim=-1)[0].float()


def speech_differences(source: Source) -> str:
    """What of a wav2vec2 is missing or mis-shaped beside the ``config.json`` that lies with it;
    nothing is read. Heads of its training may come along."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    folder = next(iter(source.infos.values())).file.parent
    with torch.device("meta"):
        model: Any = Wav2Vec2Model(Wav2Vec2Config.from_pretrained(folder, local_files_only=True))
    wanted = {n: s for n, s in expected_shapes(model).items() if not n.endswith(UNUSED)}
    named = {_plain(name): info for name, info in source.infos.items()}
    return differences(wanted, {n: info for n, info in named.items() if n in wanted})


def _plain(name: str) -> str:
    """A tensor's name without its model's, and of a weight norm as torch calls it today."""
    plain = name.removeprefix("wav2vec2.")
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        if plain.endswith(old):
            return f"{plain.removesuffix(old)}parametrizations.weight.{new}"
    return plain


class SpeechWindow:
    """Streaming features: the newest ``window`` frames of speech are heard together.

    Until the window is full, the features are those of the whole clip so far; memory and time per
    call stay constant after. With ``persons`` > 1 a sample is a row of so many, each heard alone.
    """

    def __init__(
        self, encoder: SpeechEncoder, samples_per_frame: int, window: int, persons: int = 1
    ) -> None:
        if window < 1:
            raise ValueError(f"the window must be at least 1 frame, not {window}")
        self._encoder, self._size, self._window = encoder, samples_per_frame, window
        self._row = () if persons == 1 else (persons,)
        self.reset()

    def reset(self) -> None:
        """Forget; the next sample starts frame 0."""
        self._kept = np.zeros((0, *self._row), np.float32)
        self._start = 0  # frame of the first sample kept

    @property
    def frames(self) -> int:
        """Whole frames heard so far."""
        return self._start + len(self._kept) // self._size

    def push(self, pcm: NDArray[np.float32]) -> None:
        """Add samples (N,), any length; of several persons (N, persons).

        Raises ``ValueError`` for another number of persons.
        """
        self._kept = np.concatenate([self._kept, rows_of(pcm, self._row)])

    def read(self, start: int, stop: int) -> Tensor:
        """Features (stop - start, C), of several persons (persons, stop - start, C), of the frames
        [start, stop), heard with all that the window up to ``stop`` holds; what lies further back
        than the window is forgotten.
        """
        first = max(stop - self._window, 0)
        if not first <= start < stop <= self.frames or start < self._start:
            raise ValueError(
                f"frames {start}-{stop} are not in the window: {max(first, self._start)}-"
                f"{self.frames} are"
            )
        self._forget(first)
        heard, count = self._kept[: (stop - self._start) * self._size], stop - self._start
        if not self._row:
            return self._encoder.features(heard, count)[start - self._start :]
        apart = [self._encoder.features(each, count) for each in heard.T]
        return torch.stack(apart)[:, start - self._start :]

    def hush(self, start: int) -> None:
        """From frame ``start`` on, silence was heard instead."""
        self._kept[max(start - self._start, 0) * self._size :] = 0

    def _forget(self, before: int) -> None:
        drop = max(before - self._start, 0)
        self._kept = self._kept[drop * self._size :]
        self._start += drop
