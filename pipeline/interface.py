"""What every model is to the rest of the system: the one seam between models and server.

A model family is a folder under ``pipeline/models/`` whose pipeline class satisfies ``AvatarModel``
and whose streams satisfy ``AvatarStream``; ``pipeline/loader.py`` opens it by name or path. The
server, the renderer and the benchmarks know models through this file alone.

Time is counted in 16 kHz samples. Speech is float32 mono in [-1, 1], (N,). Frame k of a stream
covers samples [k s, (k + 1) s) with s = ``samples_per_frame``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline.consent import ConsentGrant
    from pipeline.media.background import Background
    from pipeline.media.image_file import Picture
    from pipeline.media.label import Label

SAMPLE_RATE: Final = 16_000
SCHEDULES: Final = ("parallel", "causal")  # whole recordings; as live calls generate

GESTURES: Final = ("nod", "shrug", "open_palms", "count", "wave")
EMOTIONS: Final = ("warm", "serious", "surprised")
MOST_GESTURE: Final = 1.5

T = TypeVar("T")

Speech = NDArray[np.float32]
Landmarks = Mapping[str, tuple[float, float]]  # named points of a picture, px


@dataclass(frozen=True, slots=True)
class AvatarFrame:
    """One frame: uint8 (H, W, 3) RGB, its number, and the sample at which it starts.

    ``matte`` is (H, W) uint8 before a transparent background: how far each pixel is the person;
    colours are then straight, not multiplied by it.
    """

    image: NDArray[np.uint8]
    index: int
    media_time: int
    matte: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """A gesture of ``GESTURES``, an emotion of ``EMOTIONS``, or both. Its stroke lands at media
    time ``at`` (samples), or as soon as the body can prepare it."""

    gesture: str = ""
    emotion: str = ""
    at: int = 0

    def __post_init__(self) -> None:
        if self.gesture and self.gesture not in GESTURES:
            raise ValueError(f"gesture must be one of {', '.join(GESTURES)}, not {self.gesture!r}")
        if self.emotion and self.emotion not in EMOTIONS:
            raise ValueError(f"emotion must be one of {', '.join(EMOTIONS)}, not {self.emotion!r}")
        if not self.gesture and not self.emotion:
            raise ValueError("a cue needs a gesture or an emotion")
        if self.at < 0:
            raise ValueError(f"at must be a media time from 0 on, not {self.at}")


@dataclass(frozen=True, slots=True)
class Direction:
    """How much the body moves (0 is still, 1 as generated, at most 1.5), and its cues."""

    gesture: float = 1.0
    cues: tuple[Cue, ...] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.gesture <= MOST_GESTURE:
            raise ValueError(f"gesture must lie in 0..{MOST_GESTURE}, not {self.gesture}")


class Timed(Protocol):
    """How a model moves through time. All lengths in samples."""

    @property
    def samples_per_frame(self) -> int: ...
    @property
    def samples_per_step(self) -> int:
        """Media time that one step makes; the first step may differ."""

    @property
    def look_ahead(self) -> int:
        """Speech behind the last frame of a step that must have been pushed too."""


class AvatarStream(Timed, Protocol):
    """One avatar performing live. Not thread-safe: one thread at a time."""

    @property
    def grant(self) -> ConsentGrant: ...
    @property
    def samples_pushed(self) -> int:
        """Media time of the next sample to be pushed."""

    @property
    def media_time(self) -> int:
        """Media time up to which frames were generated."""

    @property
    def needs(self) -> int:
        """``samples_pushed`` from which on the next step generates."""

    @property
    def ready(self) -> bool:
        """Whether ``step`` would generate."""

    def push(self, pcm: Speech) -> None:
        """Adds speech of any length. Raises ``StreamOverrun`` when more than 30 s would wait
        (nothing is taken), ``StreamClosed``, or ``AudioNotFinite``."""

    def step(self) -> Iterator[AvatarFrame]:
        """The frames of the next step, or nothing if not ``ready``. Raises a ``ConsentError`` once
        the grant no longer holds."""

    def skip(self, samples: int) -> int:
        """Drops up to ``samples`` of waiting speech; returns how many. Frame numbers jump."""

    def interrupt(self) -> None:
        """Drops everything waiting and speculated; the avatar goes back to listening."""

    def flush(self) -> None:
        """Pads with silence, so that every sample pushed so far gets its frames."""

    def set_prompt(self, prompt: str) -> None:
        """Changes the style from the next chunk on."""

    def metrics(self) -> Mapping[str, float]:
        """Figures for an operator, by name."""

    def close(self) -> None:
        """Ends the performance; idempotent."""


@runtime_checkable
class DirectedStream(Protocol):
    """A stream whose body can be told what to do, beside what its model generates."""

    def set_gesture(self, scale: float) -> None:
        """How much the body moves from the next step on, 0..1.5; lips are not touched."""

    def cue(self, cue: Cue) -> None:
        """Performs a gesture or an emotion, blended with what is generated."""


def order_body(stream: DirectedStream, order: float | Cue) -> None:
    """Hands over a scale of the body's motion, or a cue."""
    if isinstance(order, Cue):
        stream.cue(order)
    else:
        stream.set_gesture(order)


@runtime_checkable
class DirectedModel(Protocol):
    """A model whose renders can be told so too."""

    direction: Direction


class BatchEngine(Protocol):
    """Steps many streams of one model together."""

    def step(self, streams: Sequence[AvatarStream]) -> Sequence[Iterable[AvatarFrame]]:
        """The frames of each stream, in order; none for a stream that is not ready. What fails for
        one stream is raised when its own frames are taken, and changes nothing for the others."""


class Avatar(Protocol):
    """An enrolled identity, of use to the model that made it."""

    @property
    def name(self) -> str: ...
    @property
    def image_sha256(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, pixels."""

    def before(self, background: Background) -> Avatar:
        """The same identity before another background. Raises ``BackgroundInvalid`` where the
        model cannot tell the person from the picture's own."""


class AvatarModel(Protocol):
    """A loaded model."""

    label: Label  # burnt into every frame

    @property
    def notices(self) -> Sequence[str]:
        """What an operator should know, such as sizes that the model was not trained for."""

    @property
    def frame_rate(self) -> int:
        """Frames a second."""

    @property
    def device(self) -> str: ...
    @property
    def reason(self) -> str:
        """Where it runs and why, for logs and ``/healthz``."""

    @property
    def license(self) -> str: ...
    @property
    def engine(self) -> BatchEngine: ...

    def describe_runtime(self) -> Mapping[str, object]:
        """What runs each network, for ``/healthz``."""

    def bundled(
        self, name: str, grant: ConsentGrant, *, size: tuple[int, int] | None = None
    ) -> Avatar:
        """A bundled avatar at a frame size. Raises ``UnknownAvatar``, ``AvatarDamaged`` or a
        ``ConsentError``."""

    def enrol(
        self,
        image: Picture,
        grant: ConsentGrant,
        *,
        landmarks: Landmarks | None = None,
        size: tuple[int, int] | None = None,
    ) -> Avatar:
        """A picture as an avatar. Raises a ``ConsentError`` before anything is computed, then a
        ``PictureError``."""

    def open(
        self, avatar: Avatar, grant: ConsentGrant, prompt: str = "", seed: int = 0
    ) -> AvatarStream:
        """A live stream of an avatar that this model enrolled. Raises a ``ConsentError``."""

    def render(
        self,
        avatar: Avatar,
        grant: ConsentGrant,
        speech: Iterable[Speech],
        prompt: str = "",
        seed: int = 0,
        schedule: str = "parallel",
    ) -> Iterator[AvatarFrame]:
        """Frames of a whole recording, in order. Raises a ``ConsentError``, also while it runs."""


def admit(grant: ConsentGrant, image_sha256: str, schedule: str = "causal") -> None:
    """In front of every performance. Raises a ``ConsentError`` unless the grant holds for this
    picture, and ``ValueError`` for an unknown schedule."""
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}")
    grant.check(image_sha256=image_sha256)


def native(given: object, kind: type[T]) -> T:
    """``given`` as the class of one model family. Raises ``TypeError`` for another model's."""
    if not isinstance(given, kind):
        raise TypeError(f"a {kind.__name__} of this model is needed, not {type(given).__name__}")
    return given
