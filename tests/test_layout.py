"""Rules of the project's layout that a machine can hold."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "server", "client", "integrations", "training", "benchmarks")


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at the top or inside a function."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def offenders(package: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in sorted(imports(path))
        if name.split(".")[0] in forbidden
    ]


def test_the_pipeline_knows_nothing_of_servers_sockets_or_training() -> None:
    forbidden = {"server", "client", "training", "benchmarks", "asyncio", "aiohttp", "aiortc"}
    assert offenders("pipeline", forbidden | {"http", "socket"}) == []


def test_the_server_knows_nothing_of_tensors_or_training() -> None:
    assert offenders("server", {"torch", "numba", "training", "benchmarks", "client"}) == []


def test_the_client_runs_without_the_model() -> None:
    assert offenders("client", {"torch", "numba", "training", "benchmarks"}) == []


def test_integrations_run_in_an_environment_without_the_model() -> None:
    forbidden = {"torch", "numba", "pipeline", "server", "training", "benchmarks"}
    assert offenders("integrations", forbidden) == []
    code = "import sys, client.live; sys.exit(not {'torch', 'pipeline'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_only_the_servers_settings_read_the_environment() -> None:
    reads = re.compile(r"\bos\.(environ(?!\.setdefault)|getenv)\b")
    sources = [path for package in ("pipeline", "server") for path in modules(package)]
    readers = {str(p.relative_to(ROOT)) for p in sources if reads.search(p.read_text("utf-8"))}
    assert readers <= {"server/settings/sources.py"}


SEAM = (  # what the server may use of the pipeline; docs/architecture.md says what for
    "pipeline.interface",
    "pipeline.loader",
    "pipeline.avatar_catalog",
    "pipeline.avatars",
    "pipeline.consent",
    "pipeline.errors",
    "pipeline.media",
    "pipeline.models.inspect",
    "pipeline.onnx_runtime",
    "pipeline.models.mini.enrolment.enrolment",
    "pipeline.models.mini.enrolment.landmarks_file",
)


def test_the_server_uses_the_pipeline_through_the_seam_alone() -> None:
    used = {
        (path, name)
        for path in modules("server")
        for name in imports(path)
        if name.startswith("pipeline.")
    }
    inside = tuple(f"{module}." for module in SEAM)
    past = {(path.name, name) for path, name in used if not f"{name}.".startswith(inside)}
    assert used and past == set()


@pytest.mark.parametrize("package", ["pipeline", "server"])
def test_every_package_is_on_the_map(package: str) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    part = text.partition(f"## `{package}/`")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    mapped = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    root = ROOT / package
    folders = {f"{p.parent.relative_to(root)}/" for p in root.rglob("*.py")} - {"./"}
    files = {p.name for p in root.glob("*.py")} - {"__init__.py"}
    assert mapped == folders | files


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules(package)
        if path.read_text("utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_no_decoder_has_frame_threads() -> None:
    """One that logs waits for Python's lock; whoever drops the decoder holds it, and waits too."""
    threaded = [
        p for package in PACKAGES for p in modules(package) if "thread_type" in p.read_text("utf-8")
    ]
    assert threaded == []


def test_no_module_is_a_drawer_for_everything() -> None:
    names = [p for package in PACKAGES for p in modules(package) if "util" in p.stem]
    assert names == []


LINES = 350  # the most that a file has


@pytest.mark.parametrize("package", PACKAGES)
def test_no_file_grows_far_past_what_can_be_read_at_once(package: str) -> None:
    files = {str(path.relative_to(ROOT)): path for path in modules(package)}
    lines = {name: path.read_text("utf-8").count("\n") for name, path in files.items()}
    long = {name: count for name, count in lines.items() if count > LINES}
    assert long == {}


@pytest.mark.parametrize(("package", "most"), [("pipeline", 20), ("server", 17)])
def test_the_top_of_a_package_can_be_read_at_a_glance(package: str, most: int) -> None:
    root = ROOT / package
    files = {path.name for path in root.glob("*.py")} - {"__init__.py"}
    folders = {path.name for path in root.iterdir() if next(path.glob("*.py"), None)}
    assert 0 < len(files | folders) <= most, sorted(files | folders)


Graph = dict[str, set[str]]


def import_graph(package: str) -> Graph:
    """Modules of a package, and which others of them each one imports when it runs."""
    dotted = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules(package)
    }
    graph: Graph = {name: set() for name in dotted}
    for name, path in dotted.items():
        for node in run(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & dotted.keys()
            elif isinstance(node, ast.ImportFrom) and node.module:
                within = {f"{node.module}.{alias.name}" for alias in node.names} & dotted.keys()
                graph[name] |= within or {node.module} & dotted.keys()
    return {name: others - {name} for name, others in graph.items()}


def run(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below but those for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from run(child)


def room(module: str) -> str:
    """The part of a package that a module lies in: a folder or file at its top, or one model."""
    parts = module.split(".")
    return ".".join(parts[: 3 if parts[1:2] == ["models"] else 2])


def rooms(graph: Graph) -> Graph:
    found: Graph = {room(module): set() for module in graph}
    for module, others in graph.items():
        found[room(module)] |= {room(other) for other in others} - {room(module)}
    return found


def circle(graph: Graph) -> set[str]:
    """All that is on a circle or between two circles; empty where imports run one way."""
    left = set(graph)
    while True:
        ends = {n for n in left if not graph[n] & left}
        ends |= left - set().union(*(graph[n] for n in left))
        if not ends:
            return left
        left -= ends


def test_circles_are_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == set()
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == {"b", "c"}


@pytest.mark.parametrize("package", ["pipeline", "server", "client", "integrations"])
def test_imports_run_one_way(package: str) -> None:
    graph = import_graph(package)
    assert graph and circle(graph) == set()
    assert circle(rooms(graph)) == set()


def requirements() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for line in chain(project["dependencies"], *extras):
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            yield requirement


def pins(name: str) -> dict[str, str]:
    lines = [line.partition(";")[0] for line in (ROOT / name).read_text().splitlines()]
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(package): version for package, version in pairs}


def test_every_dependency_is_pinned_within_its_range() -> None:
    tested, training = pins("constraints.txt"), pins("constraints-train.txt")
    for requirement in requirements():
        name = canonicalize_name(requirement.name)
        version = tested.get(name) or training.get(name)
        assert version is not None, f"{name} is not pinned"
        assert requirement.specifier.contains(version, prereleases=True), (name, version)


def test_one_build_of_onnx_runtime_is_asked_for_and_it_is_the_one_that_voices_ask_for() -> None:
    asked = {r.name for r in requirements() if r.name.startswith("onnxruntime")}
    assert asked == {"onnxruntime"}  # another build would overwrite its files
    for name in ("constraints.txt", "constraints-train.txt"):
        assert [n for n in pins(name) if n.startswith("onnxruntime")] == ["onnxruntime"]


def test_one_module_imports_onnx_runtime_so_that_its_telemetry_is_off() -> None:
    names = re.compile(
        r"^\s*(import|from) onnxruntime|import_module\(\W?\Wonnxruntime", re.MULTILINE
    )
    found = [p for package in PACKAGES for p in modules(package) if names.search(p.read_text())]
    assert [str(path.relative_to(ROOT)) for path in found] == ["pipeline/onnx_runtime.py"]


def test_torch_is_the_tested_release_in_both_environments() -> None:
    assert pins("constraints.txt")["torch"] == pins("constraints-train.txt")["torch"] == "2.13.0"


def test_the_model_files_are_part_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (pattern, *_) = [
        p for p in project["tool"]["setuptools"]["package-data"]["pipeline"] if "*" in p
    ]
    files = {path.name for path in (ROOT / "pipeline").glob(pattern)}
    assert {"mini.toml", "body.safetensors", "NOTICE"} <= files


def test_make_names_every_target_of_the_developer_interface() -> None:
    text = (ROOT / "Makefile").read_text()
    for target in ("setup", "serve", "test", "lint", "bench", "train"):
        assert re.search(rf"^{target}:", text, re.MULTILINE), target


def test_documents_link_to_files_that_exist() -> None:
    broken = []
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
            if not (path.parent / target).exists():
                broken.append(f"{path.relative_to(ROOT)} -> {target}")
    assert broken == []


def test_tracked_files_name_no_path_of_one_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.$~/])/(home|root|Users)/\w")
    texts = (".py", ".md", ".toml", ".txt", ".js", ".html", ".css", ".json", "Makefile")
    named = [
        name
        for name in listed.stdout.split("\0")
        if name.endswith(texts) and (ROOT / name).is_file()
        if pattern.search((ROOT / name).read_text("utf-8", "replace"))
    ]
    assert named == []


def test_the_package_imports_without_the_model() -> None:
    code = "import sys, pipeline.errors, pipeline.consent; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("command", ["render", "enrol", "calibrate"])
def test_a_command_answers_for_its_options_without_the_model(command: str) -> None:
    code = f"""
import sys
from pipeline.{command} import main
try:
    main(["--help"])
finally:
    assert not {{"torch", "numba"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
