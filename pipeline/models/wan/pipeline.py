"""``WanPipeline``: a published checkpoint as an ``AvatarModel``.

Loads the networks, enrols pictures, opens live streams, renders recordings of any length. Every
entry point requires a ``ConsentGrant``. Frames have the checkpoint's own rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pipeline import interface
from pipeline.acceleration.profile import Acceleration, profile
from pipeline.avatars import find_avatar
from pipeline.errors import ModelError, ModelMismatch
from pipeline.interface import AvatarFrame, admit, native
from pipeline.media.image_file import Picture, hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.media.label import Label
from pipeline.models.wan.accelerate import Accepted, Applied, accelerate, leave_uncompiled
from pipeline.models.wan.checkpoint.files import find_files
from pipeline.models.wan.encoders.speech import SAMPLE_RATE, SpeechWindow
from pipeline.models.wan.generation.batching import FrameDecoder
from pipeline.models.wan.generation.chunked import GenerationSetup
from pipeline.models.wan.generation.denoise import Prompts
from pipeline.models.wan.generation.guided_velocity import AccelerationPlan
from pipeline.models.wan.generation.recipes import check_pace, perform
from pipeline.models.wan.loading import WanModel, departs, load_model, only_candidate
from pipeline.models.wan.model_cards import Card, card
from pipeline.models.wan.network.condition import Reference, encode_frames, encode_reference
from pipeline.models.wan.network.speakers import areas
from pipeline.models.wan.run_options import RunOptions, check_manner
from pipeline.models.wan.stage_clock import stage_clock
from pipeline.models.wan.stream import FrameMemory, Parts, WanAvatar, WanStream, step_together
from pipeline.models.wan.vae.autoencoder import VaeDecoder
from pipeline.models.wan.vae.taehv import TinyStream
from pipeline.models.wan.warmup import warm_up

if TYPE_CHECKING:
    from pipeline.consent import ConsentGrant

HEARD_S: Final = 8  # seconds of speech that are heard together
NEGATIVE: Final = "blurred, distorted face, extra fingers, frozen picture, subtitles, low quality"
Speech = NDArray[np.float32]


class WanEngine:
    """Steps many live streams, those in the same shape at most ``most`` at a time as one batch."""

    def __init__(self, most: int) -> None:
        self._most = most

    def step(self, streams: Sequence[interface.AvatarStream]) -> list[Iterable[AvatarFrame]]:
        """One chunk of every stream that is ready, no frames for each of the others. What a stream
        raises is raised when its own frames are taken."""
        ready = [native(stream, WanStream) for stream in streams if stream.ready]
        made = dict(zip(map(id, ready), step_together(ready, self._most), strict=True))
        return [made.get(id(stream), ()) for stream in streams]


class WanPipeline:
    """A loaded checkpoint. ``load`` is the way to get one."""

    def __init__(
        self, model: WanModel, manner: RunOptions | None = None, applied: Applied | None = None
    ) -> None:
        self.model, self.manner = model, manner or RunOptions()
        check_manner(model.card, self.manner, model.tiny is not None)
        self.applied = applied or Applied(AccelerationPlan())
        check_pace(model.card, self.applied.pace, model.dit.config.depth)
        if self.manner.boxes and self.applied.pace.reuse:
            raise ModelMismatch("two speakers need attention that is computed at every step: use a "
                                "--speed without reuse")  # fmt: skip
        self.accepted = Accepted()
        self.engine = WanEngine(self.applied.streams)
        self.label = Label()  # burnt into every frame; another one, or none, is the operator's
        # forced uses, for the log and the health report
        self.notices = [own] if self.manner.force and (own := departs(model)) else []

    @classmethod
    def load(
        cls,
        path: Path,
        name: str | Card | None = None,
        device: str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
        manner: RunOptions | None = None,
        given: Mapping[str, Path] | None = None,
        speed: str | Acceleration = "plain",
        decoder: str = "full",
    ) -> WanPipeline:
        """Load the checkpoint at ``path``; ``name`` is its card (its name, or the path of one's
        own), needed where the tensors could be several; ``speed`` the profile of accelerations, or
        what is switched on (what is compiled or recorded is so at once, for the card's sizes, and
        others are refused); ``decoder`` "full", "tiny", or the path of a small one. Raises
        ``ModelUnknown``, ``ModelMismatch``, ``ModelTooLarge``, ``ModelDamaged``, ``ModelUnsafe`` or
        ``BackendRefused``.
        """
        chosen = card(name) if isinstance(name, str) else name or only_candidate(path)
        check_manner(chosen, manner or RunOptions(), decoder != "full")
        files = find_files(path, chosen, given, decoder)
        folder = path if path.is_dir() else path.parent
        how = profile(speed, folder) if isinstance(speed, str) else speed
        model = load_model(files, chosen, device, dtype, how, (manner or RunOptions()).force)
        plan = model.plan
        share = None if plan is None else plan.blocks
        made = cls(model, manner, accelerate(model.dit, model.vae, how, device, share))
        sizes = chosen.sizes if plan is None else plan.sizes
        if how.prepared:
            made.prepare(sizes)
        elif len(sizes) < len(chosen.sizes):
            made.accepted = Accepted(frozenset(sizes), "has no room in memory; {} have")
        return made

    def prepare(self, sizes: Sequence[tuple[int, int]]) -> None:
        """``warm_up``; where recording or compiling fails here, without either, and it is said."""
        try:
            self.warm_up(sizes)
        except ModelError:
            raise
        except Exception as failure:  # whatever a compiler or a recorder raises
            told = f"{type(failure).__name__}: {' '.join(str(failure).split())[:300]}"
            leave_uncompiled(self.model.dit)
            pace = replace(self.applied.pace, graphs=None)
            notices = (*self.applied.notices, f"nothing is compiled or recorded: {told}")
            self.applied = replace(self.applied, pace=pace, notices=notices)
            self.warm_up(sizes)

    def warm_up(self, sizes: Sequence[tuple[int, int]]) -> None:
        """Run every size (width, height) once before anybody waits; others are refused then."""
        model, how = self.model, self.applied
        for width, height in sizes:
            warm_up(model.dit, model.card, how.pace, (width, height), self.manner.window,
                    how.streams)  # fmt: skip
            still = torch.zeros(1, model.vae.config.channels, 2, height // 8, width // 8)
            self._decoder((width, height)).push(still.to(model.dit.patch_embedding.weight.device))
        self.accepted = Accepted(frozenset(sizes))

    # -- what it is ----------------------------------------------------------------------------

    @property
    def frame_rate(self) -> int:
        """Frames a second, of the checkpoint."""
        return self.model.card.frame_rate

    @property
    def license(self) -> str:
        """What is to be shown at load and in the health report."""
        return str(self.model.card.license)

    @property
    def device(self) -> str:
        return str(self.model.dit.patch_embedding.weight.device)

    @property
    def reason(self) -> str:
        """Where it runs, how, and under which licence."""
        title, dtype = self.model.card.title, str(self.model.dit.dtype).removeprefix("torch.")
        told = "".join(f"; {notice}" for notice in self.applied.notices)
        if self.model.dit.config.assumed:
            told += f"; assumed: {', '.join(self.model.dit.config.assumed)}"
        if self.model.tiny is not None:
            told += "; small decoder (TAEHV, MIT): faster and softer than its own"
        return f"{title} on {self.device} in {dtype}{told}; licence: {self.license}"

    def describe_runtime(self) -> dict[str, object]:
        """What is switched on, for logs and ``/healthz``."""
        return {"accelerations": list(self.applied.notices)}

    # -- identities ----------------------------------------------------------------------------

    def bundled(
        self, name: str, grant: ConsentGrant, *, size: tuple[int, int] | None = None
    ) -> WanAvatar:
        """A bundled avatar's reference picture, enrolled. Raises ``UnknownAvatar``,
        ``AvatarDamaged``, or a ``ConsentError``."""
        file = hash_picture(find_avatar(name).reference)
        grant.check(image_sha256=file.sha256)
        return self.enrol(load_picture(file), grant, size=size)

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: interface.Landmarks | None = None,
        size: tuple[int, int] | None = None,
    ) -> WanAvatar:
        """A picture as an avatar, under a grant for it; landmarks are not needed.

        ``size`` (width, height) is one that the checkpoint was trained for, the first by default.
        """
        grant.check(image_sha256=image.sha256)
        chosen = self.model.card
        width, height = size or chosen.sizes[0]
        self.accepted.check(width, height)
        notice = chosen.check_use(width, height, self.frame_rate, self.manner.force)
        if notice and notice not in self.notices:
            self.notices.append(notice)
        pixels = fit_picture(image.pixels, width, height)
        return WanAvatar(grant.avatar, grant.image_sha256, self.reference(pixels), width, height)

    def reference(self, pixels: NDArray[np.uint8]) -> Reference:
        """The transformer's condition from a picture, uint8 (H, W, 3) at its final size."""
        model = self.model
        device = model.dit.patch_embedding.weight.device
        picture = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float() / 127.5 - 1
        tokens = model.picture(picture) if model.picture else None
        return encode_reference(
            model.vae, model.dit.config, picture, model.card.recipe.frames, tokens
        )

    # -- performances --------------------------------------------------------------------------

    def open(
        self, avatar: interface.Avatar, grant: ConsentGrant, prompt: str = "", seed: int = 0
    ) -> WanStream:
        """A live stream of the avatar: one chunk at a time. Raises a ``ConsentError``."""
        admit(grant, avatar.image_sha256)
        return self._stream(
            native(avatar, WanAvatar), grant, prompt, seed, window=1, speech_ahead=False
        )

    def render(
        self,
        avatar: interface.Avatar,
        grant: ConsentGrant,
        speech: Iterable[Speech],
        prompt: str = "",
        seed: int = 0,
        schedule: str = "parallel",
    ) -> Iterator[AvatarFrame]:
        """Frames of a whole recording, in order, the last one covering its last sample. Where
        ``RunOptions.boxes`` name two people ``speech`` comes as (N, 2), one channel each.

        ``schedule`` "parallel" denoises ``RunOptions.window`` chunks together where the checkpoint
        permits it, and their last frames use the speech that follows; "causal" works as a live
        call does.
        """
        admit(grant, avatar.image_sha256, schedule)
        whole = schedule == "parallel"
        stream = self._stream(
            native(avatar, WanAvatar),
            grant,
            prompt,
            seed,
            self.manner.window if whole else 1,
            whole,
        )
        return _perform(stream, speech)

    def prompts(self, prompt: str) -> Prompts:
        """A prompt encoded, with what guidance leads away from."""
        device = self.model.dit.patch_embedding.weight.device
        wanted, unwanted = (self.model.prompt(text).to(device) for text in (prompt, self.negative))
        return Prompts(wanted, unwanted)

    @property
    def negative(self) -> str:
        """The prompt that guidance leads away from."""
        theirs = self.model.card.negative_prompt if self.manner.negative == "published" else ""
        return theirs or NEGATIVE

    def _stream(
        self,
        avatar: WanAvatar,
        grant: ConsentGrant,
        prompt: str,
        seed: int,
        window: int,
        speech_ahead: bool,
    ) -> WanStream:
        model, manner = self.model, self.manner
        recipe = model.card.recipe
        memory = FrameMemory(max(recipe.overlap, 1))
        clip = recipe.frames if recipe.kind == "video" else 0

        def again() -> Reference:
            return encode_frames(model.vae, memory.read(), clip, model.picture)

        recode = again if manner.carry == "frames" else None
        score = GenerationSetup(
            model.dit,
            model.card.schedule,
            model.card.guidance,
            avatar.reference,
            seed,
            self.applied.pace,
            areas(manner.boxes, avatar.reference.latent, model.dit.config.patch),
        )
        performance = perform(
            score,
            self.prompts(prompt),
            model.card,
            window,
            manner.positions == "relative",
            recode,
            speech_ahead,
        )
        heard = max(HEARD_S * self.frame_rate, performance.span().stop + performance.hop)
        persons = len(manner.boxes) or 1
        ears = SpeechWindow(model.speech, SAMPLE_RATE // self.frame_rate, heard, persons)
        decoder = self._decoder((avatar.width, avatar.height))
        parts = Parts(performance, ears, decoder, memory, self.prompts, stage_clock(self.device))
        return WanStream(avatar, grant, parts, self.frame_rate, self.label, persons)

    def _decoder(self, size: tuple[int, int]) -> FrameDecoder:
        if self.model.tiny is not None:
            return TinyStream(self.model.tiny)
        if size in self.applied.decoders:
            return self.applied.decoders[size].another()
        return VaeDecoder(self.model.vae, self.applied.decode)


def _perform(stream: WanStream, speech: Iterable[Speech]) -> Iterator[AvatarFrame]:
    for piece in speech:
        stream.push(piece)
        while stream.ready:
            yield from stream.step()
    frames = -(-stream.samples_pushed // stream.samples_per_frame)
    stream.flush()
    while stream.ready:
        yield from (frame for frame in stream.step() if frame.index < frames)


def fit_picture(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Scale to cover (width, height), cut what stands out evenly."""
    rows, columns = pixels.shape[:2]
    scale = max(width / columns, height / rows)
    size = (max(round(columns * scale), width), max(round(rows * scale), height))
    scaled = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.asarray(scaled.crop((left, top, left + width, top + height)), np.uint8).copy()
