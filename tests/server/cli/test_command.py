"""``continuum`` as a command line: help, one-line refusals, and what is printed where."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from server.cli.command import main
from server.cli.output import Output, drawn, shown, table

GROUPS = ("consent", "avatar", "audit", "deny", "policy", "key", "model")
ROWS = [
    {"id": "c-0123456789abcdef", "subject": "Ada [bold]Example[/bold]", "scopes": ["live"]},
    {"id": "c-fedcba9876543210", "subject": "ジョン" * 40, "scopes": []},
]


def lines(text: str) -> list[str]:
    return text.splitlines()


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that is refused."""
    assert main(arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert told.err.startswith("continuum: ")
    return told.err


def test_help_names_every_command_and_draws_no_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {group} " in shown for group in GROUPS)
    assert "Manages a Continuum installation." in shown
    assert not set("│╭╰─") & set(shown)


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_without_a_command_shows_its_help(
    group: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([group]) == 2
    assert f"continuum {group}" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["consent add", "avatar list", "audit export", "deny override"])
def test_commands_of_the_registry_share_three_options(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*path.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--config", "--registry", "--json"))


def test_the_help_of_models_needs_no_model() -> None:
    code = (
        "import sys; from server.cli.command import main; main(['model', 'inspect', '--help']);"
        " heavy = {'torch', 'numba', 'aiortc', 'aiohttp'} & set(sys.modules);"
        " sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "continuum model inspect" in done.stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("consent add", "missing option '--image'"),
        ("consent colour", "no such command 'colour'"),
        ("consent list --colour", "no such option: --colour"),
        ("consent verify c-1 --by me --face perhaps", "'perhaps' is not one of"),
        (
            "consent challenge --subject Ada --minutes many",
            "'--minutes': input should be a valid number",
        ),
        ("audit list --since noon", "2026-11-22T18:00, not 'noon'"),
        ("key create shop --role user", "operator, application, monitor, not 'user'"),
        ("avatar list --config none.toml", "cannot read none.toml"),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said.lower() in refused(capsys, *line.split()).lower()


def test_a_wrong_option_says_where_the_help_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert "continuum consent revoke --help" in refused(capsys, "consent", "revoke")


def test_a_refusal_leaves_the_process_with_two_and_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "server.cli.command", "consent", "revoke", "c-0"]
    registry = ["--registry", str(tmp_path / "r.sqlite")]
    done = subprocess.run([*command, *registry], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "c-0" in done.stderr


def test_models_are_described_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "inspect", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_what_is_no_terminal_gets_a_row_a_line_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output(as_json=False).rows(ROWS, "none")
    head, first, second = lines(capsys.readouterr().out)
    assert head.split() == ["id", "subject", "scopes"]
    assert first.split("  ")[:2] == ["c-0123456789abcdef", "Ada [bold]Example[/bold]"]
    assert ROWS[1]["subject"] in second and not second.endswith(" ")


def test_a_terminal_gets_a_table_of_its_width_with_ids_in_one_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", drawn(table(ROWS, (), terminal=True)))
    assert "─" in shown and all(str(row["id"]) in shown for row in ROWS)
    assert max(map(cell_len, lines(shown))) <= 60


def test_json_is_the_rows_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).rows(ROWS, "none")
    assert json.loads(capsys.readouterr().out) == ROWS


def test_nothing_to_list_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=False).rows([], "no avatars")
    assert capsys.readouterr().out == "no avatars\n"


def test_a_value_cannot_move_the_cursor() -> None:
    assert shown("Ada\x1b[2J\nExample") == "Ada[2J Example"
    assert shown({"face": "passed", "voice": None}) == "face passed, voice -"
