"""The npm package: everything that its files import is in it, and it packs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).resolve().parents[2] / "client" / "web"
PACKAGE = json.loads((WEB / "package.json").read_text())
USED = re.compile(r'(?:from|import) "\./([^"]+)"')
EXAMPLE = WEB.parents[1] / "examples" / "react" / "Avatar.jsx"


def test_what_the_packages_files_use_is_in_the_package() -> None:
    files = set(PACKAGE["files"])
    used = {other for name in files for other in USED.findall((WEB / name).read_text())}
    assert {"peer.js", "style.js"} <= used
    assert used <= files and {PACKAGE["main"], PACKAGE["types"]} <= files


def test_what_the_package_gives_has_types() -> None:
    given = re.findall(r"export \{ (\w+) \}", (WEB / "index.js").read_text())
    types = (WEB / "index.d.ts").read_text()
    assert len(given) == 5 and all(f"export class {name} " in types for name in given)


def test_the_wrapper_for_react_has_thirty_lines() -> None:
    assert EXAMPLE.read_text().count("\n") <= 30


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm here")
def test_npm_packs_it() -> None:
    command = ["npm", "pack", "--dry-run", "--json", "--offline"]
    packed = subprocess.run(command, cwd=WEB, capture_output=True, check=True, timeout=60).stdout
    files = {file["path"] for file in json.loads(packed)[0]["files"]}
    assert files == {*PACKAGE["files"], "package.json", "README.md"}
