"""``AvatarPipeline``: one model, many avatars and streams, batched.

Loads weights, enrols pictures, opens live streams (causal schedule) and renders recordings of any
length (parallel schedule). Every entry point requires a ``ConsentGrant``.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import interface
from pipeline.avatars import find_avatar
from pipeline.consent import ConsentGrant
from pipeline.errors import LandmarksInvalid, LandmarksMissing, PersonNotFound
from pipeline.interface import AvatarFrame, Direction, Landmarks, admit, native
from pipeline.media.image_file import Picture, hash_picture
from pipeline.media.image_sandbox import load_picture
from pipeline.media.label import Label
from pipeline.models.mini.avatar import Avatar
from pipeline.models.mini.body_direction import BodyDirection
from pipeline.models.mini.config import FRAME_RATE, SAMPLES_PER_FRAME, ModelConfig, load_config
from pipeline.models.mini.denoiser import Denoiser
from pipeline.models.mini.engine import AvatarEngine
from pipeline.models.mini.enrolment.identity_anchor import build_anchor
from pipeline.models.mini.enrolment.landmark_fit import fit_landmarks
from pipeline.models.mini.enrolment.photo_parts import photo_parts
from pipeline.models.mini.generation_state import GenerationState
from pipeline.models.mini.generator import Generator, load_generator
from pipeline.models.mini.guided_velocity import GuidedVelocity
from pipeline.models.mini.offline import Speech, states, trace_for
from pipeline.models.mini.onnx.runtime import accelerate
from pipeline.models.mini.painter import Drawn, FrameRenderer
from pipeline.models.mini.rig.fit import REF_DIM, Fit
from pipeline.models.mini.stream import AvatarStream

DEFAULT_SIZE: Final = (512, 512)
_AHEAD: Final = 32  # frames that wait to be painted or taken: painters go on while chunks are made


class AvatarPipeline:
    """A loaded model. ``load`` is the way to get one."""

    license: Final = "Apache-2.0; its body is made from CC0 data"  # models/mini/NOTICE
    frame_rate: Final = FRAME_RATE
    notices: Final[tuple[str, ...]] = ()

    def __init__(self, config: ModelConfig, model: Generator, device: str, reason: str) -> None:
        self.config, self.model = config, model
        self.label = Label()  # burnt into every frame; another one, or none, is the operator's
        self.direction = Direction()  # of renders
        self.device, self.reason = device, reason
        self.networks = accelerate(model, config)
        with torch.inference_mode():
            self._null_prompt = model.text([""])[0]
        self.denoiser = Denoiser(GuidedVelocity(self.networks.dit, config, self._null_prompt))
        self.engine = AvatarEngine(config, self.denoiser)

    @classmethod
    def load(cls, name: str = "mini", weights: Path | None = None) -> AvatarPipeline:
        """Load a bundled model. ``device`` and ``reason`` of the result say where it runs and why.

        Raises ``ModelUnknown`` or ``ModelDamaged``.
        """
        config = load_config(name)
        model = load_generator(config, REF_DIM, weights)
        cores = len(os.sched_getaffinity(0))
        reason = f"{config.name} is a CPU model; {cores} cores, torch on {torch.get_num_threads()}"
        return cls(config, model, "cpu", reason)

    def describe_runtime(self) -> dict[str, object]:
        """What runs each network, how fast, how exact, and why: for logs and ``/healthz``."""
        return self.networks.describe()

    # -- identities --------------------------------------------------------------------------

    def bundled(
        self, name: str, grant: ConsentGrant, *, size: tuple[int, int] | None = None
    ) -> Avatar:
        """Enrol a bundled avatar at a frame size (width, height), from its exact fit.

        Raises ``UnknownAvatar``, ``AvatarDamaged``, or a ``ConsentError``.
        """
        found = find_avatar(name)
        file = hash_picture(found.reference)
        grant.check(image_sha256=file.sha256)
        picture = load_picture(file)
        fit = Fit.from_json(found.fit.read_text("utf-8"))
        anchor = build_anchor(picture.pixels, fit, *(size or DEFAULT_SIZE), alpha=found.mask())
        return Avatar(name, file.sha256, anchor)

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: Landmarks | None = None,
        size: tuple[int, int] | None = None,
    ) -> Avatar:
        """Enrol a picture from its landmarks (px), at a frame size (width, height).

        Raises a ``ConsentError`` before anything is computed, then a ``PictureError``.
        """
        grant.check(image_sha256=image.sha256)
        if landmarks is None:
            raise LandmarksMissing(
                "this picture has no landmarks: put them into a JSON file beside it, "
                "docs/avatars.md says how"
            )
        try:
            fit = fit_landmarks(image.pixels, landmarks)
        except ValueError as error:
            raise LandmarksInvalid(f"the landmarks do not fit a person: {error}") from error
        try:
            parts = photo_parts(image.pixels, landmarks, image.alpha)
            anchor = build_anchor(
                image.pixels, fit, *(size or DEFAULT_SIZE), alpha=image.alpha, parts=parts
            )
        except ValueError as error:
            raise PersonNotFound(f"{error}: check the landmarks against the picture") from error
        return Avatar(grant.avatar, image.sha256, anchor)

    # -- performances ------------------------------------------------------------------------

    def open(
        self, avatar: interface.Avatar, grant: ConsentGrant, prompt: str = "", seed: int = 0
    ) -> AvatarStream:
        """A live stream of the avatar (causal schedule). Raises a ``ConsentError``."""
        admit(grant, avatar.image_sha256)
        enrolled = native(avatar, Avatar)
        performance = self._performance(enrolled, prompt, seed, "causal")
        painter = FrameRenderer(enrolled.anchor)
        return AvatarStream(
            enrolled, grant, self.networks, performance, painter, self.engine.step, self.label
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
        """Frames of a whole recording, in order, the last one covering its last sample.

        ``speech`` is pulled lazily, in float32 mono 16 kHz pieces of any length; memory does not
        grow with it. Raises a ``ConsentError``, also while it runs.
        """
        admit(grant, avatar.image_sha256, schedule)
        enrolled = native(avatar, Avatar)
        performance = self._performance(enrolled, prompt, seed, schedule)
        made = states(
            self.networks, self.denoiser, performance, speech, schedule, check=grant.check
        )
        body = BodyDirection(enrolled.anchor.fit.state, self.direction)
        return _painted(enrolled, (body(s, k) for k, s in enumerate(made)), self.label)

    def _performance(
        self, avatar: Avatar, prompt: str, seed: int, schedule: str
    ) -> GenerationState:
        with torch.inference_mode():
            tokens = self.model.text([prompt])[0]
        reference = torch.from_numpy(avatar.anchor.reference)
        return GenerationState(
            self.config, reference, tokens, seed,
            trace_for(self.config, schedule), self.config.motion.spread(schedule),
        )  # fmt: skip


def _painted(
    avatar: Avatar, poses: Iterable[NDArray[np.float32]], label: Label
) -> Iterator[AvatarFrame]:
    """Paint states in order on two threads of one painter each (the kernels release the GIL)."""
    painters = [FrameRenderer(avatar.anchor), FrameRenderer(avatar.anchor)]
    pools = [ThreadPoolExecutor(1, f"paint-{i}") for i in range(len(painters))]
    queue: deque[Future[Drawn]] = deque()

    def frame(index: int) -> AvatarFrame:
        image, matte = queue.popleft().result()
        return AvatarFrame(image, index, index * SAMPLES_PER_FRAME, matte)

    painted = 0
    try:
        for k, state in enumerate(poses):
            queue.append(
                pools[k % 2].submit(painters[k % 2].marked, state, label, avatar.transparent)
            )
            if len(queue) > _AHEAD:
                yield frame(painted)
                painted += 1
        while queue:
            yield frame(painted)
            painted += 1
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
