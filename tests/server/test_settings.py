"""Settings: where each comes from, and what is said when one cannot be used."""

from dataclasses import fields
from pathlib import Path

import pytest

from server.settings import Settings, SettingsError, load


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('port = 1000\nhost = "10.0.0.1"\nslots = 4\n')
    environ = {"CONTINUUM_PORT": "2000", "CONTINUUM_SLOTS": "5", "HOME": "/"}
    chosen, show = load(["--config", str(file), "--port", "3000"], environ)
    assert (chosen.port, chosen.slots, chosen.host, show) == (3000, 5, "10.0.0.1", False)


def test_what_print_config_shows_can_be_read_back(tmp_path: Path) -> None:
    chosen, show = load(["--print-config", "--origins", "https://a.example,https://b.example"], {})
    file = tmp_path / "saved.toml"
    file.write_text(chosen.toml())
    assert show and load(["--config", str(file)], {})[0] == chosen


def test_secrets_are_not_shown() -> None:
    assert "hush" not in Settings(turn_secret="hush", turn_password="hush").toml()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "99999"], "port .*65535.*99999"),
        (["--port", "many"], "port must be a whole number, not 'many'"),
        (["--grace-s", "nan"], "grace_s must be a number, not 'nan'"),
        (["--slots", "-1"], "slots .*-1"),
        (["--log-json", "perhaps"], "log_json must be true or false, not 'perhaps'"),
        (["--video-codecs", "video/AV2"], "video_codecs .*AV2"),
        (["--bitrate-start", "100"], "bitrate_min 40000 <= bitrate_start 100"),
        (["--ice-servers", "http://x"], "ice_servers .*http://x"),
        (["--config", "/does/not/exist.toml"], "cannot read /does/not/exist.toml"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(flags: list[str], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(flags, {})


@pytest.mark.parametrize("content", ["port = ", "colour = 'red'"])
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(content)
    with pytest.raises(SettingsError, match="server.toml"):
        load(["--config", str(file)], {})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("port = 80.5", "port must be a whole number, not 80.5"),
        ("port = true", "port must be a whole number, not True"),
        ("host = 5", "host must be text, not 5"),
        ("label_removed = true", "label_removed must be text, not True"),
        ("backlog_s = '1 s'", "backlog_s must be a number, not '1 s'"),
        ("log_json = 2", "log_json must be true or false, not 2"),
        ("origins = 5", "origins must be a list, separated by commas, not 5"),
        ("origins = [5]", "origins must be a list"),
    ],
)
def test_a_file_is_not_guessed_at(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(line)
    with pytest.raises(SettingsError, match=said):
        load(["--config", str(file)], {})


def test_every_range_holds_its_own_ends_and_default() -> None:
    ranged = [item for item in fields(Settings) if item.metadata["low"] is not None]
    assert len(ranged) > 25
    for item in ranged:
        low, high = item.metadata["low"], item.metadata["high"]
        assert low <= item.default <= high, item.name
        for value in (low, high):
            load([f"--{item.name.replace('_', '-')}={value}"], {})
        with pytest.raises(SettingsError, match=f"{item.name} must be between"):
            load([f"--{item.name.replace('_', '-')}={high + 1}"], {})


def test_every_setting_has_a_flag_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load(["--help"], {})
    shown = capsys.readouterr().out
    assert "--grace-s" in shown and "--turn-secret" in shown and "--bitrate-max" in shown
