"""The way from clips to weights, run small: shards, crops, every stage, resuming, loading."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.models.mini.config import MODELS, load_config
from pipeline.models.mini.generator import load_generator
from pipeline.models.mini.rig.fit import REF_DIM
from training import corpus, train
from training.data import DELIVERIES, Crops, read_corpus
from training.voices.clips import Clip, Phone, save_shard


def babble(seed: int) -> Clip:
    """Seven seconds of vowels and closures with known phones; no speech engine is needed."""
    rng = np.random.default_rng(seed)
    pieces, phones, at = [], [], 0
    for i in range(56):
        ipa, samples = (("a", 2400), ("p", 1200), ("u", 2000), ("", 1600))[i % 4]
        t = np.arange(samples) / 16_000
        loud = {"a": 0.4, "u": 0.2}.get(ipa, 0.0)
        hiss = 0.001 * rng.normal(size=samples)
        pieces.append(loud * np.sin(2 * np.pi * (120 + 20 * i) * t) + hiss)
        phones.append(Phone(at, at + samples, ipa, stress=int(ipa == "a"), word=i // 4))
        at += samples
    audio = np.concatenate(pieces).astype(np.float32)
    return Clip(audio, tuple(phones), f"test/{seed}", "en", "plain", "papu")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    save_shard(folder / "voices" / "train-000.npz", [babble(i) for i in range(4)])
    (folder / "corpus").mkdir()
    target = folder / "corpus" / "train-000.npz"
    corpus.build_shard(folder / "voices" / "train-000.npz", target, 1, True, seed=1)
    return folder / "corpus"


def test_takes_survive_their_shard(shards: Path) -> None:
    takes = read_corpus(shards, "train")
    assert len(takes) == 4
    for take in takes:
        assert take.states.shape == (2 * take.latents, 88)
        assert len(take.features) == 8 * take.latents + 4
        assert take.reference.shape == (REF_DIM,)


def test_crops_line_up_sound_and_motion(shards: Path) -> None:
    """The crop's features are those of the take at the crop's own place."""
    config = load_config("mini")
    torch.manual_seed(0)
    model = train.Trainer(config, shards / "none", torch.device("cpu")).model
    crops = Crops(read_corpus(shards, "train")[:1], model.vae, config)
    features, latents, deliveries = crops.hearing(np.random.default_rng(0), 2, 10)
    assert [DELIVERIES[i] for i in deliveries] == [crops._takes[0].delivery] * 2
    assert features.shape[1] == 8 * (20 + 10) + 4 and latents.shape[2] == 10
    crops.hear(model.audio, torch.device("cpu"))
    batch = crops.chunks(np.random.default_rng(1), 16, 4, live=True)
    past = config.chunks.context
    assert batch.latents.shape[2] == past + 4
    assert not batch.audio_known[:, past + config.chunks.live_hop + 1 :].any()


def test_training_runs_through_its_stages_resumes_and_leaves_weights(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = tmp_path / "run", tmp_path / "mini.safetensors"

    def go(dit_minutes: str) -> dict[str, int]:
        train.main(
            ["--corpus", str(shards), "--run", str(run), "--out", str(out), "--batch", "2",
             "--vae-minutes", "0.01", "--audio-minutes", "0.01", "--minutes", dit_minutes]
        )  # fmt: skip
        return dict(torch.load(run / "train.pt", weights_only=True)["steps"])

    first = go("0.01")
    assert min(first.values()) >= 1
    second = go("0.03")
    assert second["vae"] == first["vae"] and second["audio"] == first["audio"]
    assert second["dit"] > first["dit"]
    model = load_generator(load_config("mini"), REF_DIM, out)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    assert model.dit.head.weight.detach().abs().max() > 0


def test_without_a_corpus_training_says_what_to_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        train.main(["--corpus", str(tmp_path), "--run", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert "training.corpus" in capsys.readouterr().err


def test_most_noise_levels_are_those_that_the_schedule_visits() -> None:
    config = load_config("mini")
    torch.manual_seed(0)
    levels = train.noise_levels(config, 4000)
    visited = torch.tensor(config.schedule.levels[:-1])
    among = (levels[:, None] - visited).abs().min(1).values < 1e-6
    assert abs(float(among.float().mean()) - (1 - train.ANYWHERE)) < 0.05
    assert float(levels.min()) > 0.0199 and float(levels.max()) <= 1.0


def test_tuning_begins_with_finished_weights_unless_a_run_goes_on(tmp_path: Path) -> None:
    config, weights = load_config("mini"), MODELS / "mini" / "mini.safetensors"
    trainer = train.Trainer(config, tmp_path / "run", torch.device("cpu"))
    trainer.start_from(weights)
    finished = load_generator(config, REF_DIM, weights).state_dict()
    assert all(torch.equal(finished[k], v) for k, v in trainer.model.state_dict().items())
    assert all(torch.equal(finished[k], v) for k, v in trainer.average.items())
    for each in trainer.model.parameters():
        each.data.add_(1.0)
    trainer.checkpoint.parent.mkdir(exist_ok=True)
    trainer.checkpoint.touch()
    trainer.start_from(weights)
    assert not torch.equal(trainer.model.dit.head.weight, finished["dit.head.weight"])
