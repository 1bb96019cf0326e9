"""The converted networks answer what the published ones do, as recorded from their own runtimes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ModelDamaged
from pipeline.landmarkers import networks
from pipeline.landmarkers.networks import WEIGHTS, Network, network

PUBLISHED = dict(np.load(Path(__file__).with_name("published.npz")))
NAMES = sorted(path.stem for path in WEIGHTS.glob("*.onnx"))


def answers(name: str, picture: int) -> dict[str, np.ndarray]:
    net = network(name)
    at = np.arange(net.size) * 64 // net.size
    return net(np.ascontiguousarray(PUBLISHED[f"picture_{picture}"][at][:, at]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("picture", [0, 1])
def test_a_network_answers_as_published(name: str, picture: int) -> None:
    recorded = {key for key in PUBLISHED if key.startswith(f"{name}/")}
    made = answers(name, picture)
    assert {f"{name}/{output}/{i}" for output in made for i in (0, 1)} == recorded
    for output, values in made.items():
        theirs = PUBLISHED[f"{name}/{output}/{picture}"]
        flat = values.reshape(-1)
        ours = flat[:: max(1, len(flat) // 400)]
        assert np.abs(ours - theirs).max() <= 1e-3 * max(np.abs(theirs).max(), 1), output


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hand.onnx").write_bytes(b"no network")
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    with pytest.raises(ModelDamaged, match=r"hand\.onnx cannot be loaded .*: restore the file"):
        Network("hand")
