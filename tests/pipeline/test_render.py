"""``python -m pipeline.render`` from arguments to file: what it makes, and how it refuses."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import BundledAvatar, write_consent
from pipeline.consent import Kind, Registry, Scope
from pipeline.consent.image_fingerprint import PLAIN
from pipeline.consent.registry import new_record
from pipeline.interface import Cue, Direction
from pipeline.media.video_file import VideoWriter
from pipeline.render import main
from tests.fakes import FACE, FakePipeline

ROOT = Path(__file__).parents[2]


def write_wav(path: Path, seconds: float = 1.0, rate: int = 16_000, bursts: float = 2.0) -> Path:
    """A tone that comes and goes."""
    t = np.arange(int(seconds * rate)) / rate
    sound = 0.4 * np.sin(2 * np.pi * 220 * t) * (np.sin(2 * np.pi * bursts * t) > 0)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


@dataclass
class Studio:
    """A folder with speech, one bundled avatar and a registry, and the command to run in it."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    pipeline: FakePipeline = field(default_factory=FakePipeline)

    @property
    def out(self) -> Path:
        return self.folder / "out" / "a.mp4"

    @property
    def registry(self) -> Path:
        return self.folder / "consents.sqlite"

    def run(self, *options: object, **named: object) -> int:
        defaults = {"avatar": "ada", "audio": self.folder / "speech.wav", "out": self.out}
        chosen = defaults | {"registry": self.registry, "width": 64, "height": 64} | named
        argv = [part for name, value in chosen.items() for part in (f"--{name}", str(value))]
        load, avatars = self.pipeline.load, self.folder / "avatars"
        try:
            return main([*argv, *map(str, options)], load, avatars)
        except SystemExit as leaving:  # how argparse says no
            return int(leaving.code or 0)

    def refused(self, *options: object, **named: object) -> str:
        """The one line of a refusal that computed nothing and left nothing behind."""
        assert self.run(*options, **named) == 2
        printed = self.capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1 and len(printed.err) > 20
        assert self.written() == []
        return printed.err

    def written(self) -> list[str]:
        return sorted(path.name for path in self.out.parent.iterdir())

    def picture(self, name: str = "me.png", side: int = 200) -> Path:
        path = self.folder / name
        Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(path)
        sidecar = path.with_name(f"{path.stem}.landmarks.json")
        sidecar.write_text(json.dumps({"width": side, "height": side, "points": FACE}))
        return path

    def enrol(self, name: str, picture: Path, consent: str) -> None:
        registry = Registry(self.registry)
        landmarks = picture.with_name(f"{picture.stem}.landmarks.json").read_bytes()
        registry.enrolments.add(
            name, picture=picture.read_bytes(), landmarks=landmarks, consent_id=consent
        )
        registry.close()

    def consent(self, picture: Path, scopes: Iterable[Scope] = Scope) -> str:
        registry = Registry(self.registry)
        digest = hashlib.sha256(picture.read_bytes()).hexdigest()
        record = new_record(
            subject="Ada",
            kind=Kind.SELF,
            statement="I agree.",
            image_sha256=digest,
            scopes=scopes,
            adult=True,
            fingerprint=PLAIN,
        )
        registry.add(record)
        registry.close()
        return record.id


@pytest.fixture
def studio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Studio:
    folder = tmp_path / "avatars" / "ada"
    folder.mkdir(parents=True)
    (tmp_path / "out").mkdir()
    Image.fromarray(np.full((128, 128, 3), 7, np.uint8)).save(folder / "reference.png")
    (folder / "fit.json").write_text("{}")
    write_consent(BundledAvatar("ada", folder), "Ada", "This person does not exist.", 1.8e9)
    write_wav(tmp_path / "speech.wav")
    return Studio(tmp_path, capsys)


def frames(path: Path) -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


# -- what it makes ---------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "count"), [(1.0, 25), (1.01, 26), (0.5, 13), (2.04, 51)])
def test_the_video_covers_the_last_sample(studio: Studio, seconds: float, count: int) -> None:
    write_wav(studio.folder / "speech.wav", seconds)
    assert studio.run("--json") == 0
    result = json.loads(studio.capsys.readouterr().out)
    assert result["frames"] == count == len(frames(studio.out))
    assert studio.written() == ["a.mp4"]


def test_the_frames_show_the_speech_of_their_own_time(studio: Studio) -> None:
    assert studio.run() == 0
    loud = np.array([frame[:, :16].mean() > 60 for frame in frames(studio.out)])
    t = (np.arange(len(loud)) + 0.5) / 25
    expected = np.sin(2 * np.pi * 2.0 * t) > 0
    assert (loud == expected).mean() > 0.85


def test_the_speakers_own_sound_is_in_the_file_in_step(studio: Studio) -> None:
    write_wav(studio.folder / "speech.wav", 2.0, 44_100)
    assert studio.run() == 0
    with av.open(str(studio.out)) as container:
        parts = [f.to_ndarray()[0] for f in container.decode(audio=0)]
        assert container.streams.audio[0].rate == 48_000
    sound = np.concatenate(parts)
    loud = np.abs(sound[: len(sound) // 480 * 480]).reshape(-1, 480).max(axis=1) > 0.2
    t = (np.arange(len(loud)) + 0.5) / 100
    assert (loud == (np.sin(2 * np.pi * 2.0 * t) > 0)).mean() > 0.95


def test_options_reach_the_pipeline(studio: Studio) -> None:
    options = {"prompt": "calm", "seed": 7, "schedule": "causal", "width": 96, "height": 128}
    assert studio.run(**options) == 0
    assert studio.pipeline.asked == {"prompt": "calm", "seed": 7, "schedule": "causal"}
    assert frames(studio.out)[0].shape == (128, 96, 3)


def test_two_speakers_have_a_channel_each(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[np.ndarray] = []
    plain = FakePipeline.render

    def render(self, avatar, grant, speech, **options):  # type: ignore[no-untyped-def]
        heard.extend(speech)
        return plain(self, avatar, grant, (rows.mean(1) for rows in heard), **options)

    monkeypatch.setattr(FakePipeline, "render", render)
    left, right = (np.full(16_000, level, np.int16) for level in (8000, -4000))
    with wave.open(str(studio.folder / "both.wav"), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.stack([left, right], 1).astype("<i2").tobytes())
    assert studio.run(audio=studio.folder / "both.wav", speakers="0:0:0.4:1,0.5:0:1:1") == 0
    assert np.concatenate(heard).shape == (16_000, 2)
    assert np.allclose(np.concatenate(heard).mean(0), [8000 / 32768, -4000 / 32768], atol=1e-3)


def test_gesture_and_cues_are_the_models_to_perform(studio: Studio) -> None:
    assert studio.run("--cue", "nod@0.5", "--cue", "warm@1", gesture="0.5") == 0
    cues = (Cue("nod", "", 8_000), Cue("", "warm", 16_000))
    assert studio.pipeline.direction == Direction(0.5, cues)


def test_a_model_that_draws_whole_pictures_takes_no_gesture(studio: Studio) -> None:
    del studio.pipeline.direction
    assert "--gesture and --cue are for mini" in studio.refused(gesture="0.5")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"gesture": "1.6"}, "0..1.5"),
        ({"gesture": "nan"}, "0..1.5"),
        ({"cue": "bow@1"}, "open_palms"),
        ({"cue": "nod"}, "NAME@SECONDS"),
        ({"cue": "nod@inf"}, "NAME@SECONDS"),
        ({"cue": "nod@-1"}, "NAME@SECONDS"),
    ],
)
def test_gestures_that_cannot_be_performed_are_refused(
    studio: Studio, options: dict[str, str], told: str
) -> None:
    assert told in studio.refused(**options)


def test_two_speakers_in_one_channel_are_refused(studio: Studio) -> None:
    assert "has 1 channel, two speakers need two" in studio.refused(speakers="halves")


def test_where_two_speakers_are_is_asked_for_plainly(studio: Studio) -> None:
    assert "neither halves nor two boxes" in studio.refused(speakers="left")


def test_the_same_seed_gives_the_same_file(studio: Studio) -> None:
    files = []
    for seed in (3, 3, 4):
        assert studio.run(seed=seed) == 0
        files.append(studio.out.read_bytes().partition(b"mdat")[2])  # before it: the signature
    assert files[0] == files[1] != files[2]


def test_the_result_line_is_json_with_what_it_cost(studio: Studio) -> None:
    assert studio.run("--json") == 0
    printed = studio.capsys.readouterr()
    result = json.loads(printed.out)
    assert printed.out.count("\n") == 1
    assert result["seconds"] == pytest.approx(1.0) and result["out"] == str(studio.out)
    assert result["seconds"] / result["speed"] == pytest.approx(result["render_s"], abs=1e-3)
    assert {"load", "enrol", "audio", "generate", "encode"} <= result["stages"].keys()
    assert result["peak_memory_mb"] > 10


def test_an_old_file_is_replaced_by_the_new_one(studio: Studio) -> None:
    studio.out.write_bytes(b"old")
    assert studio.run() == 0
    assert len(frames(studio.out)) == 25 and studio.written() == ["a.mp4"]


def test_generation_runs_a_bounded_number_of_frames_ahead(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, ahead = [0], []
    video = VideoWriter.video

    def counted(writer: VideoWriter, image: NDArray[np.uint8], matte: None) -> None:
        written[0] += 1
        video(writer, image, matte)

    monkeypatch.setattr(VideoWriter, "video", counted)
    studio.pipeline.at_frame = lambda index: ahead.append(index - written[0])
    write_wav(studio.folder / "speech.wav", 20.0)
    assert studio.run() == 0
    assert max(ahead) <= 52


# -- consent ---------------------------------------------------------------------------------


def test_a_picture_with_consent_and_landmarks_is_enrolled(studio: Studio) -> None:
    picture = studio.picture()
    assert studio.run(image=picture, consent=studio.consent(picture), avatar="me") == 0
    avatar = studio.pipeline.avatar
    assert avatar is not None and avatar.picture is not None and avatar.landmarks is not None
    assert avatar.name == "me" and avatar.picture.width == 200 and avatar.landmarks == FACE


def test_without_a_record_a_picture_is_refused_before_it_is_decoded(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object, **__: object) -> None:
        raise RuntimeError("the picture was decoded")

    picture = studio.picture()
    other = studio.consent(studio.folder / "avatars" / "ada" / "reference.png")
    monkeypatch.setattr("PIL.Image.open", opened)
    assert "consent" in studio.refused(image=picture)
    assert "c-0" in studio.refused(image=picture, consent="c-0")
    assert other in studio.refused(image=picture, consent=other)
    assert studio.pipeline.calls == []


def test_an_enrolled_avatar_speaks_under_its_name(studio: Studio) -> None:
    picture = studio.picture()
    consent = studio.consent(picture)
    studio.enrol("me", picture, consent)
    picture.unlink()
    assert studio.run(avatar="me") == 0
    avatar = studio.pipeline.avatar
    assert avatar is not None and avatar.name == "me" and avatar.landmarks == FACE
    assert avatar.grant.consent_id == consent and avatar.picture is not None
    assert (avatar.picture.width, avatar.picture.height) == (200, 200)


def test_an_enrolled_avatar_asks_the_gate(studio: Studio) -> None:
    picture = studio.picture()
    live = studio.consent(picture, scopes=[Scope.LIVE])
    studio.enrol("me", picture, live)
    assert "recording" in studio.refused(avatar="me")
    said = studio.refused(avatar="nobody")
    assert "ada, me" in said
    registry = Registry(studio.registry)
    registry.revoke(live)
    registry.close()
    assert "no avatar 'me'" in studio.refused(avatar="me")
    assert studio.pipeline.calls == []


def test_a_picture_answers_to_the_policy_that_is_named(studio: Studio) -> None:
    picture = studio.picture()
    consent = studio.consent(picture)
    policy = studio.folder / "policy.toml"
    policy.write_text('[recording]\nchecks = ["voice"]\n')
    assert "voice" in studio.refused(image=picture, consent=consent, policy=policy)
    policy.write_text("[recording\n")
    assert "policy" in studio.refused(image=picture, consent=consent, policy=policy)
    assert studio.pipeline.calls == []


def test_a_revoked_picture_is_refused(studio: Studio) -> None:
    picture = studio.picture()
    consent = studio.consent(picture)
    registry = Registry(studio.registry)
    registry.revoke(consent)
    registry.close()
    assert "revoked" in studio.refused(image=picture, consent=consent)


def test_revoking_while_it_renders_stops_it_and_leaves_nothing(studio: Studio) -> None:
    picture = studio.picture()
    consent = studio.consent(picture)

    def revoke(index: int) -> None:
        if index == 5:
            registry = Registry(studio.registry)
            registry.revoke(consent)
            registry.close()

    studio.pipeline.at_frame = revoke
    assert "revoked" in studio.refused(image=picture, consent=consent)


# -- bad input: one line, status 2, nothing left behind --------------------------------------


def spoil(name: str) -> Callable[[Path], object]:
    def write(path: Path) -> object:
        match name:
            case "missing":
                return path.unlink()
            case "empty":
                return path.write_bytes(b"")
            case "header only":
                return path.write_bytes(path.read_bytes()[:44])
            case "truncated":
                return path.write_bytes(path.read_bytes()[:9_000])
            case "text":
                return path.write_text("This is not speech, it is writing. " * 40)
            case "picture":
                return Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path, "PNG")
            case "folder":
                path.unlink()
                return path.mkdir()
        raise AssertionError(name)

    return write


@pytest.mark.parametrize("how", ["missing", "empty", "header only", "text", "picture", "folder"])
def test_audio_that_cannot_be_read_is_refused(studio: Studio, how: str) -> None:
    spoil(how)(studio.folder / "speech.wav")
    assert "speech.wav" in studio.refused()
    assert studio.pipeline.calls == []


def test_sound_that_was_cut_off_is_rendered_as_far_as_it_goes(studio: Studio) -> None:
    spoil("truncated")(studio.folder / "speech.wav")
    assert studio.run() == 0
    samples = (9_000 - 44) // 2  # after the header
    assert len(frames(studio.out)) == -(-samples * 25 // 16_000)


def write_pcm(path: Path, sound: object, rate: int, layout: str = "mono") -> None:
    mono = np.asarray(sound, np.float32)
    channels = av.AudioLayout(layout).nb_channels
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=rate, layout=layout)
        packed = np.repeat(mono, channels)[None]
        frame = av.AudioFrame.from_ndarray(packed, "flt", layout)
        frame.sample_rate = rate
        for item in (frame, None):
            container.mux(stream.encode(item))


@pytest.mark.parametrize(
    ("sound", "rate", "layout", "count"),
    [
        (np.zeros(16_000), 16_000, "mono", 25),  # silence
        ([0.5], 16_000, "mono", 1),  # one sample
        (np.full(8_000, 0.1), 8_000, "mono", 25),  # telephone
        (np.full(192_000, 0.1), 192_000, "5.1", 25),  # studio
        (np.sign(np.sin(np.arange(48_000) / 30)) * 5, 48_000, "stereo", 25),  # clipped
        (np.full(44_100, 0.9), 44_100, "mono", 25),  # DC offset
    ],
)
def test_odd_but_honest_sound_is_rendered(
    studio: Studio, sound: object, rate: int, layout: str, count: int
) -> None:
    write_pcm(studio.folder / "speech.wav", sound, rate, layout)
    assert studio.run() == 0
    assert len(frames(studio.out)) == count


def test_nan_samples_are_refused_with_their_time_and_leave_nothing(studio: Studio) -> None:
    sound = np.full(48_000, 0.1)
    sound[40_000] = np.nan
    write_pcm(studio.folder / "speech.wav", sound, 16_000)
    assert "2.500 s" in studio.refused()


def png(image: Image.Image, **options: object) -> Callable[[Path], object]:
    return lambda path: image.save(path, "PNG", **options)


def blank(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), (9, 9, 9))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (png(blank(60, 60)), "60x60"),
        (png(Image.new("1", (9_000, 5_000))), "million"),
        (png(blank(200, 200), save_all=True, append_images=[Image.new("RGB", (200, 200))]), "anim"),
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), "me.png"),
        (lambda path: path.write_text("a thousand words"), "me.png"),
        (lambda path: path.with_name("me.landmarks.json").unlink(), "docs/avatars.md"),
        (lambda path: path.with_name("me.landmarks.json").write_text("{}"), "docs/avatars.md"),
        (png(blank(200, 220)), "200x220"),  # the landmarks are another picture's
    ],
    ids=["tiny", "huge", "animated", "truncated", "text", "no landmarks", "bad", "other"],
)
def test_a_picture_that_cannot_be_a_reference_is_refused(
    studio: Studio, make: Callable[[Path], object], says: str
) -> None:
    picture = studio.picture()
    make(picture)
    assert says in studio.refused(image=picture, consent=studio.consent(picture))
    assert studio.pipeline.calls == []


def test_a_missing_picture_is_refused(studio: Studio) -> None:
    assert "nobody.png" in studio.refused(image=studio.folder / "nobody.png", consent="c-1")


def test_a_picture_turned_by_exif_is_enrolled_upright(studio: Studio) -> None:
    picture = studio.picture()
    exif = Image.Exif()
    exif[0x0112] = 6
    blank(300, 200).save(picture, "PNG", exif=exif)
    sidecar = picture.with_name("me.landmarks.json")
    content = json.loads(sidecar.read_text()) | {"width": 200, "height": 300}
    sidecar.write_text(json.dumps(content))
    assert studio.run(image=picture, consent=studio.consent(picture)) == 0
    assert studio.pipeline.avatar is not None and studio.pipeline.avatar.picture is not None
    assert studio.pipeline.avatar.picture.pixels.shape == (300, 200, 3)


def test_an_unknown_avatar_is_answered_with_the_known_ones(studio: Studio) -> None:
    assert "known ones: ada" in studio.refused(avatar="eve")


def test_an_output_folder_that_does_not_exist_is_refused(studio: Studio) -> None:
    assert "nowhere" in studio.refused(out=studio.folder / "nowhere" / "a.mp4")


def test_the_input_is_never_overwritten(studio: Studio) -> None:
    speech = studio.folder / "speech.wav"
    before = speech.read_bytes()
    assert "input" in studio.refused(out=speech)
    assert speech.read_bytes() == before


def test_a_full_disk_is_one_line_and_leaves_nothing(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("av.container.OutputContainer.mux", full)
    assert "no space left" in studio.refused()


@pytest.mark.parametrize("size", [(511, 512), (64, 63), (0, 64), (-2, 64), (100_000, 64)])
def test_sizes_that_video_cannot_have_are_refused(studio: Studio, size: tuple[int, int]) -> None:
    assert f"{size[0]}x{size[1]}" in studio.refused(width=size[0], height=size[1])


@pytest.mark.parametrize(
    "options", [{"seed": "-1"}, {"seed": "x"}, {"width": "wide"}, {"schedule": "magic"}]
)
def test_a_wrong_option_is_one_line(studio: Studio, options: dict[str, object]) -> None:
    assert f"--{next(iter(options))}" in studio.refused(**options)


def test_a_registry_that_cannot_be_written_is_named(studio: Studio) -> None:
    assert "speech.wav" in studio.refused(registry=studio.folder / "speech.wav" / "r.sqlite")


# -- interruptions ---------------------------------------------------------------------------


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal delivers it, also where the tests run in the background without one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_leaves_nothing(studio: Studio) -> None:
    def interrupt(index: int) -> None:
        if index == 3:
            signal.raise_signal(signal.SIGINT)

    studio.pipeline.at_frame = interrupt
    write_wav(studio.folder / "speech.wav", 60.0)
    assert studio.run() == 130
    assert studio.capsys.readouterr().err.count("\n") == 1 and studio.written() == []


def test_a_bug_in_the_pipeline_is_not_hidden_and_leaves_nothing(studio: Studio) -> None:
    def fail(index: int) -> None:
        raise ZeroDivisionError

    studio.pipeline.at_frame = fail
    with pytest.raises(ZeroDivisionError):
        studio.run()
    assert studio.written() == []


def test_the_command_refuses_bad_input_without_loading_the_model(studio: Studio) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "pipeline.render", "--avatar", "ada"]
    options = ["--audio", str(studio.folder / "none.wav"), "--out", str(studio.out)]
    environment = {**os.environ, "HOME": str(studio.folder)}
    done = subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == 2 and len(lines) == 1 and "none.wav" in lines[0]
    assert not any(line.endswith(" torch") for line in done.stderr.splitlines())
