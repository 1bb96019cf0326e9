"""Where it runs: as another account, on a tree that cannot be written, without a word to others."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from numba.core import config

from pipeline import onnx_runtime
from pipeline.models.mini import kernel_cache

ROOT = Path(__file__).parents[2]
SERVER = ("run_server.py", "--port", "0", "--avatars-warm", "default")
NOBODY = 65_534
# Some pythons lie in a home folder: they may be read then, and nothing may be written.
_AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
              "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # fmt: skip


def environment(home: Path, **more: str) -> dict[str, str]:
    """Little more than a path: no home folder, no cache, no switches that a developer has set."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", **more}  # fmt: skip


def ready(command: list[str], variables: dict[str, str], log: Path, limit_s: float = 100) -> str:
    """Starts a server, stops it when it says where it is, and gives back all it said."""
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=variables, stdout=out, stderr=out, start_new_session=True
        )
    try:
        end = time.monotonic() + limit_s
        while "Continuum is at" not in log.read_text() and time.monotonic() < end:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGTERM)  # strace waits for what it traces
        process.wait(20)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return log.read_text()


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that any account may write, and reach."""
    folder = Path("/tmp") / f"continuum-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0 or shutil.which("setpriv") is None,
    reason="only root may become somebody else",
)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("home", ["/nonexistent", "empty"])
def test_an_account_that_owns_neither_code_nor_cache_renders_and_serves(
    state: Path, speech_file: Path, home: str
) -> None:
    variables = environment(Path(home) if home.startswith("/") else state / home, TMPDIR=str(state))
    (state / "empty").mkdir(mode=0o555)
    registry = ["--registry", str(state / "registry" / "consents.sqlite")]
    made = subprocess.run(
        [*_AS_NOBODY, sys.executable, "-m", "pipeline.render", "--avatar", "mira",
         "--audio", str(speech_file), "--out", str(state / "out.mp4"),
         "--width", "64", "--height", "64", *registry],
        cwd=ROOT, env=variables, capture_output=True, text=True, timeout=140, check=False,
    )  # fmt: skip
    assert made.returncode == 0 and "Traceback" not in made.stderr, made.stderr
    assert made.stderr.count("kernels are kept in") == 1
    assert (state / "out.mp4").stat().st_uid == NOBODY
    said = ready([*_AS_NOBODY, sys.executable, *SERVER, *registry],
                 variables, state / "log")  # fmt: skip
    assert "Continuum is at" in said and "Traceback" not in said


@pytest.fixture
def speech_file(state: Path) -> Path:
    with wave.open(str(state / "speech.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(range(256)) * 25)
    (state / "speech.wav").chmod(0o644)
    return state / "speech.wav"


def own(folders: tuple[Path, ...], path: str) -> bool:
    """Whether a path lies in the tree, in its interpreter or in a folder that a test handed out."""
    places = (*folders, ROOT, Path(sys.prefix), Path(sys.base_prefix), Path("/dev"), Path("/proc"))
    return any(Path(path).is_relative_to(place) for place in places)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace shows what a process reaches for"
)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["render", "server"])
def test_nothing_leaves_loopback_and_nothing_is_written_elsewhere(
    state: Path, speech_file: Path, what: str
) -> None:
    (state / "home").mkdir()
    trace, variables = state / "trace", environment(state / "home", TMPDIR=str(state / "tmp"))
    (state / "tmp").mkdir()
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e",
               "trace=connect,sendto,sendmsg,openat,mkdir,rename", sys.executable]  # fmt: skip
    registry = ["--registry", str(state / "registry" / "consents.sqlite")]
    if what == "server":
        said = ready([*command, *SERVER, *registry], variables, state / "log")
        assert "Continuum is at" in said
    else:
        command += ["-m", "pipeline.render", "--avatar", "mira", "--audio", str(speech_file),
                    "--out", str(state / "out.mp4"), "--width", "64", "--height", "64"]  # fmt: skip
        subprocess.run([*command, *registry], cwd=ROOT, env=variables, check=True, timeout=140,
                       capture_output=True)  # fmt: skip
    calls = trace.read_text(errors="replace")
    reached = set(re.findall(r'(?:inet_addr\("|inet_pton\(AF_INET6, ")([0-9a-f.:]+)"', calls))
    assert reached <= {"127.0.0.1", "::1", "0.0.0.0", "::"}
    opened = re.findall(r'openat\(\w+, "([^"]+)", \S*O_(?:WRONLY|RDWR|CREAT).* = \d', calls)
    made = re.findall(r'mkdir\("([^"]+)".* = 0', calls)
    paths = {path for path in opened + made if path.startswith("/")}
    handed = (state / "registry", state / "tmp", state / "out.mp4")
    parts = re.compile(rf"{re.escape(str(state))}/\.+out\.mp4\.")  # the output while it grows
    assert {path for path in paths if not own(handed, path) and not parts.match(path)} == set()
    assert list((state / "home").rglob("*")) == []


def test_the_switch_stands_before_onnx_runtime_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pipeline import onnx_runtime; import pipeline.models.mini.onnx.builder;"
        " assert 'onnxruntime' not in sys.modules; onnx_runtime.load(); import os;"
        f" print(os.environ[{onnx_runtime.SWITCH!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment(tmp_path),
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "1\n" and list(tmp_path.rglob("*")) == []


@pytest.fixture
def homeless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing can be written but a temporary folder, as Numba would see it."""
    monkeypatch.delenv(kernel_cache.SWITCH, raising=False)
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", str(tmp_path))
    usable = kernel_cache._usable
    monkeypatch.setattr(kernel_cache, "_usable", lambda f: f.is_relative_to(tmp_path) and usable(f))
    return tmp_path


def test_kernels_are_kept_in_a_private_folder_that_is_found_again(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    found = []
    for _ in range(2):
        kernel_cache.prepare(ROOT / "pipeline")
        found.append(os.environ[kernel_cache.SWITCH])
        monkeypatch.delenv(kernel_cache.SWITCH)
        monkeypatch.setattr(config, "CACHE_DIR", "")
    assert found[0] == found[1] and Path(found[0]).parent == homeless
    assert Path(found[0]).stat().st_mode & 0o777 == 0o700
    assert found[0] in caplog.text


def test_a_folder_that_others_may_write_is_not_used_for_kernels(
    homeless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = homeless / f"continuum-kernels-{os.getuid()}"
    theirs.mkdir()
    theirs.chmod(0o777)
    kernel_cache.prepare(ROOT / "pipeline")
    chosen = Path(os.environ[kernel_cache.SWITCH])
    assert chosen != theirs and chosen.stat().st_mode & 0o777 == 0o700


def test_a_tree_that_can_be_written_keeps_its_kernels_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(kernel_cache.SWITCH, raising=False)
    (tmp_path / "kernel.py").touch()
    kernel_cache.prepare(tmp_path)
    assert kernel_cache.SWITCH not in os.environ
