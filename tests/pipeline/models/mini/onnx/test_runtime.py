"""The choice of a runtime: measured, checked, forced by configuration, and never silent."""

import json
import logging
import sys
from dataclasses import replace

import pytest
import torch

from pipeline.models.mini.config import load_config
from pipeline.models.mini.generator import Generator
from pipeline.models.mini.onnx import runtime
from pipeline.models.mini.onnx.candidates import Trial
from pipeline.models.mini.onnx.runtime import accelerate, choose, milliseconds

CONFIG = load_config("mini")
RIGHT = torch.ones(3)


def trial(fast: torch.Tensor | Exception, precision: str = "float32") -> Trial[str]:
    """Networks are names; the fast one gives ``fast``, or cannot be built."""

    def build() -> str:
        if isinstance(fast, Exception):
            raise fast
        return "fast"

    def check(network: str) -> list[torch.Tensor]:
        return [RIGHT if network == "plain" else fast]

    return Trial("net", "plain", build, check, lambda network: None, precision)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch):
    """Sets what measuring (onnx, torch) finds."""

    def found(onnx_ms: float, torch_ms: float) -> None:
        monkeypatch.setattr(runtime, "milliseconds", lambda works: [onnx_ms, torch_ms])

    return found


@pytest.mark.parametrize(("onnx_ms", "network"), [(1.0, "fast"), (3.0, "plain")])
def test_the_cheaper_network_runs(times, onnx_ms: float, network: str):
    times(onnx_ms, 2.0)
    chosen, choice = choose(trial(RIGHT), "auto")
    assert chosen == network
    assert (choice.onnx_ms, choice.torch_ms, choice.error) == (onnx_ms, 2.0, 0.0)
    assert choice.runtime == {"fast": "onnx", "plain": "torch"}[network]


@pytest.mark.parametrize(("wanted", "network"), [("onnx", "fast"), ("torch", "plain")])
def test_the_configuration_may_settle_it(times, wanted: str, network: str):
    times(9.0, 2.0)
    chosen, choice = choose(trial(RIGHT), wanted)
    assert (chosen, choice.reason) == (network, "asked for by the configuration")


@pytest.mark.parametrize("wanted", ["auto", "onnx"])
@pytest.mark.parametrize(
    ("fast", "reason"),
    [
        (RIGHT * 1.01, "relative error 0.01 exceeds 0.0001"),
        (RIGHT * float("nan"), "relative error nan exceeds"),
        (RuntimeError("no such kernel"), "no such kernel"),
    ],
)
def test_a_network_that_is_wrong_or_missing_is_refused_aloud(
    times, caplog: pytest.LogCaptureFixture, wanted: str, fast, reason: str
):
    times(1.0, 2.0)
    with caplog.at_level(logging.WARNING):
        chosen, choice = choose(trial(fast), wanted)
    assert (chosen, choice.runtime) == ("plain", "torch")
    assert reason in choice.reason and reason in caplog.text
    json.dumps(choice.error, allow_nan=False)


def test_int8_may_be_further_off_than_float32(times):
    times(1.0, 2.0)
    assert choose(trial(RIGHT * 1.01, "int8"), "auto")[1].precision == "int8"
    assert choose(trial(RIGHT * 1.2, "int8"), "auto")[1].precision == "float32"


def test_processor_time_is_measured_in_turns_after_nothing_else():
    calls: list[str] = []
    found = milliseconds([lambda: calls.append("a"), lambda: sum(range(200_000))])
    assert len(calls) == runtime.ROUNDS
    assert 0 <= found[0] < found[1]


def test_every_network_of_the_model_gets_a_choice_that_can_be_printed():
    torch.manual_seed(0)
    networks = accelerate(Generator(CONFIG, 17).eval(), CONFIG)
    described = json.loads(json.dumps(networks.describe()))
    told = described["networks"]
    assert [entry["network"] for entry in told] == ["transformer", "audio encoder", "decoder"]
    assert all(entry["reason"] for entry in told)
    assert all(entry["error"] < 1e-4 for entry in told)
    assert described["switches"]["cfg_cache"].startswith("off: guidance.scale is 1")


def test_switches_say_whether_they_are_on_and_why():
    guided = replace(CONFIG, guidance=replace(CONFIG.guidance, scale=2.0))
    assert runtime.switches(guided)["cfg_cache"].startswith("off: nothing learned")
    fast = replace(CONFIG.acceleration, cfg_cache=(0.0, 0.2, 0.3), attention=("FFFF",) * 3)
    assert runtime.switches(replace(guided, acceleration=fast)) == {
        "cfg_cache": "on: thresholds [0.0, 0.2, 0.3]", "attention_cache": "on: FFFF FFFF FFFF"
    }  # fmt: skip


def test_without_onnx_runtime_everything_runs_on_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setitem(sys.modules, "pipeline.models.mini.onnx.networks", None)
    model = Generator(CONFIG, 17).eval()
    networks = accelerate(model, CONFIG)
    assert (networks.dit, networks.audio, networks.vae) == (model.dit, model.audio, model.vae)
    assert all("cannot run it" in choice.reason for choice in networks.choices)
    assert caplog.text.count("runs on torch") == 3


def test_choosing_leaves_everybody_elses_random_numbers_alone():
    model = Generator(CONFIG, 17).eval()
    torch.manual_seed(8)
    expected = torch.randn(3)
    torch.manual_seed(8)
    accelerate(model, replace(CONFIG, acceleration=replace(CONFIG.acceleration, runtime="onnx")))
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runtime": "tvm"}, "not 'tvm'"),
        ({"precision": "int4"}, "not 'int4'"),
        ({"threads": 0}, "at least 1, not 0"),
        ({"cfg_cache": (0.1, 0.2, 0.3)}, "begin with 0"),
        ({"attention": ("RFFF", "FFFF", "FFFF")}, "first one without R"),
    ],
)
def test_impossible_accelerations_are_refused(change, message: str):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG.acceleration, **change)


@pytest.mark.parametrize("change", [{"cfg_cache": (0.0, 0.1)}, {"attention": ("FF", "FR", "RR")}])
def test_switches_must_fit_the_steps_and_blocks_of_the_model(change):
    with pytest.raises(ValueError, match="entries for|do not name"):
        replace(CONFIG, acceleration=replace(CONFIG.acceleration, **change))
