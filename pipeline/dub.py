"""``python -m pipeline.dub``: somebody in a video speaks other words, the rest of the video stays.

Checks everything that can be checked before a model is loaded, asks the consent gate for scope
``dubbing``, compares the face with the consent's picture, then writes the video. An error that the
user can fix is one line on stderr with exit status 2, and leaves no file behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any, NoReturn, Self

from av.packet import Packet
from tqdm import tqdm

from pipeline.consent.options import registry_of
from pipeline.consent.registry import Registry
from pipeline.dubbing import mark
from pipeline.dubbing.command_line import parser
from pipeline.dubbing.dubber import Dubber
from pipeline.dubbing.errors import VideoNoFace, VideoPersonUnknown, VideoSpanInvalid
from pipeline.dubbing.permission import Permission, permitted
from pipeline.dubbing.preview import Sheet
from pipeline.dubbing.sound import mixed, sound_of
from pipeline.dubbing.speech import mouth_motion
from pipeline.dubbing.standin_teeth import standin
from pipeline.dubbing.survey import Someone, Survey, survey
from pipeline.dubbing.video_in import Shot, VideoFile, open_video, parts
from pipeline.dubbing.video_out import DubWriter
from pipeline.errors import (
    ConsentMismatch,
    ConsentUnverified,
    ContinuumError,
    LabelInvalid,
    ModelMismatch,
    OutputUnwritable,
    SealUnusable,
)
from pipeline.loader import is_bundled
from pipeline.media.audio_file import AudioFile, Samples, open_audio, speech
from pipeline.media.label import Label, removed
from pipeline.media.prefetch import prefetch
from pipeline.media.provenance import Origin, Seal, load_signer, sealing
from pipeline.media.render_file import Stages
from pipeline.media.video_file import AUDIO_RATE, check_target
from pipeline.models.mini.pipeline import AvatarPipeline

BAR = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} s{postfix}, {remaining} left"
_LEAST_WORDS = 12  # characters of a declaration
_AHEAD = 8  # frames that drawing may be ahead of the encoder


@dataclass(frozen=True, slots=True)
class Result:
    """What was dubbed and what it cost. ``speed`` is seconds of video per second of work."""

    out: str
    width: int
    height: int
    frames: int
    seconds: float
    person: int
    people: int
    cuts: int
    redrawn_s: float
    kept_s: dict[str, float]  # the original mouth stayed: seconds by reason
    teeth: str  # "footage", or "model" where the video shows none
    cut_speech_s: float  # new speech behind the end of the span, which is left out
    left_out: list[str]  # streams of the source that MP4 cannot carry
    broken: int  # packets of the source that could not be decoded
    likeness: float
    render_s: float
    speed: float
    peak_memory_mb: float
    stages: dict[str, float]


def main(
    argv: Sequence[str] | None = None, load: Callable[[], AvatarPipeline] | None = None
) -> int:
    """Dubs one file; 0 when it stands complete, 2 when the input is at fault, 130 on Ctrl-C."""
    arguments = parser().parse_args(argv)
    try:
        result = _dub(arguments, load or AvatarPipeline.load)
    except ContinuumError as error:
        print("dub: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("dub: interrupted, nothing was written", file=sys.stderr)
        return 130
    print(json.dumps(asdict(result)) if arguments.json else _summary(result))
    return 0


def _dub(arguments: argparse.Namespace, load: Callable[[], AvatarPipeline]) -> Result:
    _check_options(arguments)
    video, audio = open_video(arguments.video), open_audio(arguments.audio)
    start, end = _span(arguments, video)
    registry = registry_of(arguments)
    stages = Stages()
    began = stages.clock()
    try:
        permission = permitted(registry, arguments.consent, arguments.image)
        label = _label(arguments, registry)
        with _Progress(video, "looking") as bar, stages.time("survey"):
            found = survey(video, bar.at)
        number, someone, alike = _chosen(arguments, found, permission, registry)
        with stages.time("load"):
            pipeline = load()
        motion = mouth_motion(pipeline, speech(audio), arguments.seed, permission.grant.check)
        inside = someone.inside or standin(someone.light)
        sheet = Sheet(arguments.preview) if arguments.preview else None
        dubber = Dubber(someone, inside, motion, (start, end), sheet.note if sheet else _ignore)
        seal = _seal(arguments, registry, permission, label)
        layout = "mono" if audio.channels == 1 else "stereo"
        sound = mixed(audio, sound_of(video.path), layout, start, end)
        with (
            closing(sound),
            _Progress(video, "dubbing") as bar,
            DubWriter(arguments.out, video.path, video.turned, layout, seal) as writer,
        ):
            seconds = _write(writer, dubber, video, sound, label, stages, bar, sheet)
        if sheet:
            sheet.save()
        render_s = stages.clock() - began
        return Result(
            out=str(arguments.out), width=video.width, height=video.height, frames=writer.frames,
            seconds=round(seconds, 3), person=number, people=len(found.people), cuts=dubber.cuts,
            redrawn_s=round(dubber.kept.redrawn_s, 2),
            kept_s={why: round(s, 2) for why, s in dubber.kept.seconds.items()},
            teeth="footage" if someone.inside else "model",
            cut_speech_s=_cut_speech(audio, min(end, seconds) - start),
            left_out=writer.left_out, broken=video.broken, likeness=round(alike, 3),
            render_s=round(render_s, 3), speed=round(seconds / render_s, 3),
            peak_memory_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            stages={name: round(s, 3) for name, s in stages.seconds.items()},
        )  # fmt: skip
    finally:
        registry.close()


def _write(
    writer: DubWriter, dubber: Dubber, video: VideoFile, sound: Iterator[Samples], label: Label,
    stages: Stages, bar: _Progress, sheet: Sheet | None,
) -> float:  # fmt: skip
    """Frames and sound into the file, side by side; the seconds written."""
    seconds, last = 0.0, 0.0

    def marked() -> Iterator[Shot | Packet[Any]]:
        for part in dubber.run(parts(video)):
            if isinstance(part, Shot):
                mark.stamp(part, label)
            yield part

    for part in prefetch(stages.pulled("draw", marked()), _AHEAD, "draw"):
        with stages.time("encode"):
            if isinstance(part, Packet):
                writer.packet(part)
                continue
            last = part.time_s - seconds if part.time_s > seconds else last
            seconds = part.time_s
            writer.shot(part)
            while writer.samples < seconds * AUDIO_RATE:
                writer.audio(next(sound))
        bar.at(seconds)
    whole = seconds + (last or 1 / video.rate)
    rest = round(whole * AUDIO_RATE) - writer.samples
    while rest > 0:
        block = next(sound)[:, :rest]
        writer.audio(block)
        rest -= block.shape[1]
    return whole


def _check_options(arguments: argparse.Namespace) -> None:
    if bool(arguments.c2pa_cert) != bool(arguments.c2pa_key):
        raise SealUnusable("--c2pa-cert and --c2pa-key belong together: name both")
    if not is_bundled(arguments.model):
        raise ModelMismatch(f"{arguments.model}: dubbing runs on the bundled model alone (mini)")
    check_target(arguments.out)
    if arguments.out.suffix.lower() != ".mp4":
        raise OutputUnwritable(f"{arguments.out} is written as MP4: name it so")
    sources = {path.resolve() for path in (arguments.video, arguments.audio, arguments.image)
               if path is not None}  # fmt: skip
    for target in (arguments.out, arguments.preview):
        if target is not None and target.resolve() in sources:
            raise OutputUnwritable(f"{target} is an input: name another file for the output")
    if arguments.preview:
        check_target(arguments.preview)


def _span(arguments: argparse.Namespace, video: VideoFile) -> tuple[float, float]:
    start = arguments.start or 0.0
    end = math.inf if arguments.end is None else arguments.end
    length = video.seconds if video.seconds is not None else math.inf
    if not (0 <= start < end and start < length):
        raise VideoSpanInvalid(
            f"--start {start:g} and --end {end:g} are no part of a video of {length:.2f} s"
        )
    return start, end


def _chosen(
    arguments: argparse.Namespace, found: Survey, permission: Permission, registry: Registry
) -> tuple[int, Someone, float]:
    """Who is dubbed: the person asked for, or the one most like the consent's picture."""
    people = found.people
    if not people:
        raise VideoNoFace(f"{arguments.video} shows no face that is large enough to be dubbed")
    if arguments.person is not None and not 1 <= arguments.person <= len(people):
        raise VideoPersonUnknown(
            f"--person {arguments.person}: {len(people)} found, 1 is the one shown most"
        )
    numbers = range(len(people)) if arguments.person is None else [arguments.person - 1]
    scores = {k: permission.likeness(people[k], registry.face_models) for k in numbers}
    best = max(scores, key=lambda k: scores[k].value)
    if not scores[best].same:
        raise ConsentMismatch(
            f"nobody in {arguments.video} looks like the picture of consent {arguments.consent}"
            f" (likeness {scores[best].value:.2f}): dub footage of that person only"
        )
    if not people[best].meshes:
        raise VideoNoFace(
            f"person {best + 1} is never seen from the front: there is nothing to go by"
        )
    if not scores[best].certain:
        _declared(arguments, registry, scores[best].value)
    return best + 1, people[best], scores[best].value


def _declared(arguments: argparse.Namespace, registry: Registry, alike: float) -> None:
    """Without a face model somebody answers for who is in the footage; it is logged first."""
    words = " ".join(arguments.same_person.split())
    if len(words) < _LEAST_WORDS:
        raise ConsentUnverified(
            "this installation has no face model, and what it measures rules out strangers only:"
            " set one (docs/consent.md), or say with --same-person who vouches that this is the"
            f" person of the consent (at least {_LEAST_WORDS} characters, logged)"
        )
    registry.log.record(
        "dub.declared", actor="dub", consent_id=arguments.consent, declaration=words,
        likeness=f"{alike:.2f}",
    )  # fmt: skip


def _label(arguments: argparse.Namespace, registry: Registry) -> Label:
    if not arguments.remove_label:
        return Label(place=arguments.label_place, style=arguments.label_style)

    def audit(what: str, words: str) -> None:
        registry.log.record(what, actor="dub", consent_id=arguments.consent, declaration=words)

    try:
        return removed(arguments.remove_label, "dub", audit)
    except ValueError as error:
        raise LabelInvalid(f"--remove-label: {error}") from error


def _seal(
    arguments: argparse.Namespace, registry: Registry, permission: Permission, label: Label
) -> Seal:
    signer = load_signer(arguments.c2pa_cert, arguments.c2pa_key) if arguments.c2pa_cert else None
    consent = registry.get(permission.grant.consent_id).consent_sha256()
    with arguments.video.open("rb") as file:
        source = hashlib.file_digest(file, "sha256").hexdigest()
    origin = Origin(
        arguments.model, permission.grant.avatar, consent, label.declaration or label.text, source
    )
    return sealing(origin, arguments.out.name, signer)


def _cut_speech(audio: AudioFile, span_s: float) -> float:
    return 0.0 if audio.duration_s is None else round(max(0.0, audio.duration_s - span_s), 2)


def _ignore(*_: object) -> None:
    pass


class _Progress:
    """The bar on a terminal."""

    def __init__(self, video: VideoFile, what: str) -> None:
        total = None if video.seconds is None else round(video.seconds, 2)
        self._bar = tqdm(total=total, desc=what, bar_format=BAR, disable=None, leave=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def at(self, seconds: float) -> None:
        """So far is the video done."""
        if not self._bar.disable:
            self._bar.n = round(seconds, 2)
            self._bar.update(0)


def _summary(result: Result) -> str:
    kept = ", ".join(f"{s:.1f} s {why}" for why, s in result.kept_s.items())
    return (
        f"{result.out}: {result.seconds:.2f} s in {result.frames} frames of"
        f" {result.width}x{result.height}, {result.redrawn_s:.1f} s redrawn"
        f"{f' (original mouth kept: {kept})' if kept else ''}, {result.speed:.2f} x real time,"
        f" {result.peak_memory_mb:.0f} MB"
    )


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)  # a stopped service leaves no half-written file either
    sys.exit(main())
