"""Speech with known phones: single utterances for tests, and the corpus that training reads.

    python -m training.voices.generate --out .data/voices --hours 6 --seed 1

writes shards of ten minutes, `train-*.npz` and half an hour of `heldout-*.npz` with voices,
languages and sentences that training never hears. Who says what and how depends on the seed and
the shard's number alone (the sound may differ by a breath: espeak-ng carries noise from one
utterance into the next). A shard appears whole, so a run that was stopped goes on where it was,
and may be made longer. `--natural 6` adds as many hours of natural voices (`natural`), in shards of
three minutes, `train-n*.npz` and `heldout-n*.npz`; it fetches them first (120 MB).
"""

import argparse
import multiprocessing
import os
import re
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.ndimage import uniform_filter1d
from tqdm import tqdm

from training.voices import espeak, festival, flite
from training.voices.clips import SAMPLE_RATE, Clip, save_shard
from training.voices.kokoro_files import fetched
from training.voices.natural import natural_clip
from training.voices.quiet import quiet_clip
from training.voices.speakers import Role, cast, espeak_manner, festival_manner, flite_manner
from training.voices.spoken import Spoken, join, play_faster, silence, trim
from training.voices.texts import sentence
from training.voices.timbre import Timbre, retimbre

SHARD_S, NATURAL_SHARD_S = 600, 180
HELD_OUT_SHARDS, NATURAL_HELD_OUT_SHARDS = 3, 4
SHORTEST_S, LONGEST_S = 4.0, 20.0
_DELIVERIES = {"flat": 0.2, "plain": 0.4, "emphatic": 0.33, "silence": 0.035, "noise": 0.035}
_PEAKS = {"flat": (0.08, 0.35), "plain": (0.15, 0.7), "emphatic": (0.35, 0.95)}
_LEAN_DB = {"flat": 0.0, "plain": 1.5, "emphatic": 4.0}


def say(text: str, voice: str = "espeak/en-us", delivery: str = "plain", *, seed: int = 0) -> Clip:
    """Speak `text`, with *stars* around words to lean on, by "espeak/VOICE", "flite/VOICE" or
    "festival/VOICE".

    Raises ValueError for an unknown voice or delivery, OSError where the engine is missing.
    """
    if delivery not in _PEAKS:
        raise ValueError(f"delivery {delivery!r} is none of {', '.join(_PEAKS)}")
    engine, _, name = voice.partition("/")
    language = re.split(r"[-+]", name)[0] if engine == "espeak" else "en"
    role = Role(engine, name, language, Timbre(), (1 - 0.88) / 0.28, 1.0)
    rng = np.random.default_rng(seed)
    spoken = _utter(text, role, delivery, rng)
    pause = silence(round(0.2 * SAMPLE_RATE))
    clip = _finish(join([pause, spoken, pause]), role, delivery, text, 0.5)
    return replace(clip, voice=voice)


def make_clip(rng: np.random.Generator, *, heldout: bool = False) -> Clip:
    """Draw a speaker, a delivery and sentences, and speak them with pauses between."""
    delivery = str(rng.choice(list(_DELIVERIES), p=list(_DELIVERIES.values())))
    if delivery in ("silence", "noise"):
        return quiet_clip(delivery, rng.uniform(SHORTEST_S, 12.0), rng)
    role = cast(rng, heldout=heldout)
    target = int(rng.uniform(SHORTEST_S, LONGEST_S - 4) * SAMPLE_RATE)
    pieces, texts, length = [_pause(rng, 0.3)], list[str](), 0
    while length < target:
        text = _lean_on(sentence(role.language, rng, heldout=heldout), delivery, rng)
        spoken = _utter(text, role, delivery, rng)
        if texts and length + len(spoken.audio) > LONGEST_S * SAMPLE_RATE:
            break
        pieces += [spoken, _pause(rng, 0.45)]
        texts.append(text)
        length = sum(len(piece.audio) for piece in pieces)
    whole = join(pieces)
    whole = replace(whole, audio=retimbre(whole.audio, role.throat, rng))
    peak = float(rng.uniform(*_PEAKS[delivery]))
    return _finish(whole, role, delivery, " ".join(texts), peak)


def _utter(text: str, role: Role, delivery: str, rng: np.random.Generator) -> Spoken:
    if delivery == "flat":
        text = text.replace("*", "")
    if role.engine == "espeak":
        spoken = espeak.engine().speak(text, role.name, espeak_manner(role, delivery, rng))
    elif role.engine == "flite":
        spoken = flite.engine().speak(text, role.name, flite_manner(role, delivery, rng))
    elif role.engine == "festival":
        spoken = festival.engine().speak(text, role.name, festival_manner(role, delivery, rng))
    else:
        raise ValueError(f"no engine {role.engine!r}; there are espeak, flite and festival")
    if role.faster != 1.0:
        spoken = play_faster(spoken, role.faster)
    spoken = trim(spoken, round(0.03 * SAMPLE_RATE))
    return _louder_words(spoken, _LEAN_DB[delivery] * rng.uniform(0.5, 1.3))


def _louder_words(spoken: Spoken, gain_db: float) -> Spoken:
    """Raise emphasised words, with ramps of 30 ms."""
    lift = np.zeros(len(spoken.audio), np.float32)
    for phone in spoken.phones:
        lift[phone.start : phone.end] = gain_db * phone.emphasis
    if not lift.any():
        return spoken
    smooth = uniform_filter1d(lift, round(0.03 * SAMPLE_RATE), mode="nearest")
    return replace(spoken, audio=spoken.audio * 10 ** (smooth / 20).astype(np.float32))


def _lean_on(text: str, delivery: str, rng: np.random.Generator) -> str:
    """Choose the emphasised words: every emphatic sentence has one, half of the plain stars go."""
    if delivery == "flat" or (delivery == "plain" and rng.random() < 0.5):
        return text.replace("*", "")
    if delivery == "plain" or "*" in text:
        return text
    words = [m for m in re.finditer(r"[^\W\d_]+(?:['’][^\W\d_]+)*", text) if len(m[0]) > 3]
    if not words:
        return text
    word = words[int(rng.integers(len(words)))]
    return f"{text[: word.start()]}*{word[0]}*{text[word.end() :]}"


def _pause(rng: np.random.Generator, typical_s: float) -> Spoken:
    seconds = float(np.clip(typical_s * rng.lognormal(0, 0.6), 0.1, 2.0))
    return silence(round(seconds * SAMPLE_RATE))


def _finish(whole: Spoken, role: Role, delivery: str, text: str, peak: float) -> Clip:
    loudest = float(np.abs(whole.audio).max()) or 1.0
    audio = (whole.audio * (peak / loudest)).astype(np.float32)
    return Clip(audio, whole.phones, role.voice, role.language, delivery, text)


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of the corpus, and all that its content depends on."""

    path: Path
    seed: int
    number: int
    heldout: bool
    seconds: float = SHARD_S
    natural: bool = False


def make_shard(shard: Shard) -> Path:
    """Write one shard unless it exists."""
    if shard.path.exists():
        return shard.path
    make = natural_clip if shard.natural else make_clip
    rng = np.random.default_rng([shard.seed, int(shard.heldout), shard.number])
    clips, seconds = list[Clip](), 0.0
    while seconds < shard.seconds:
        clips.append(make(rng, heldout=shard.heldout))
        seconds += clips[-1].seconds
    save_shard(shard.path, clips)
    return shard.path


def plan(out: Path, hours: float, seed: int, natural: bool = False) -> list[Shard]:
    """The shards of a corpus: the first train shard, held-out shards, then all the others."""
    seconds, mark = (NATURAL_SHARD_S, "n") if natural else (SHARD_S, "")
    count = max(1, round(hours * 3600 / seconds)) if hours > 0 else 0

    def shards(side: str, count: int) -> list[Shard]:
        return [
            Shard(out / f"{side}-{mark}{i:03d}.npz", seed, i, side == "heldout", seconds, natural)
            for i in range(count)
        ]

    train = shards("train", count)
    held = shards("heldout", NATURAL_HELD_OUT_SHARDS if natural else HELD_OUT_SHARDS)
    return [*train[:1], *held[:1], *train[1:6], *held[1:], *train[6:]] if count else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(".data/voices"))
    parser.add_argument("--hours", type=float, default=6.0)
    parser.add_argument("--natural", type=float, default=0.0, help="hours of natural voices")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    shards = plan(options.out, options.hours, options.seed)
    if options.natural > 0:
        fetched()  # once, before the workers need it
        shards = [*plan(options.out, options.natural, options.seed, natural=True), *shards]
    # A pool that says so when a worker dies, as an engine written in C may make it do.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        made = as_completed([pool.submit(make_shard, shard) for shard in shards])
        for shard in tqdm(made, total=len(shards), unit="shard", disable=not sys.stderr.isatty()):
            shard.result()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
