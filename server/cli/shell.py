"""What every command works with: an open registry, who is at the keyboard, how to print.

``registry_command`` makes a function whose first argument is a ``Shell`` into a command: it adds
``--config``, ``--registry`` and ``--json``, opens the registry and closes it again.
"""

from __future__ import annotations

import inspect
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec

import typer

from pipeline.consent import Registry
from server import settings
from server.cli.output import Output
from server.consent.registry import open_registry

P = ParamSpec("P")

Config = Annotated[
    Path | None, typer.Option("--config", metavar="FILE.toml", help="The server's settings file.")
]
Named = Annotated[
    str | None,
    typer.Option("--registry", metavar="FILE|URL", help="Another registry than in the settings."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit log.")]


@dataclass(frozen=True, slots=True)
class Shell:
    """One run of the command."""

    registry: Registry
    output: Output
    actor: str
    avatars_max: int


def operator() -> str:
    """Who acts, for the audit log: the account of this process, whatever its environment says."""
    try:
        return f"shell {pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"shell {os.getuid()}"


def group(text: str) -> typer.Typer:
    """A command that has sub-commands; ``text`` is its help."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None)


def load_settings(config: Path | None) -> settings.Settings:
    """Settings of the server on this machine. Raises ``SettingsError``."""
    return settings.load(["--config", str(config)] if config else [])[0]


@contextmanager
def opened(config: Path | None, registry: str | None, as_json: bool) -> Iterator[Shell]:
    """A shell on the registry that the options name, else the settings' one."""
    chosen = load_settings(config)
    chosen = replace(chosen, registry=registry) if registry else chosen
    found = open_registry(chosen)
    try:
        yield Shell(found, Output(as_json), operator(), chosen.avatars_max)
    finally:
        found.close()


def registry_command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[Concatenate[Shell, P], None]], Callable[Concatenate[Shell, P], None]]:
    """Registers a function as a command of ``app``; its docstring is the help text."""

    def register(
        act: Callable[Concatenate[Shell, P], None],
    ) -> Callable[Concatenate[Shell, P], None]:
        def run(config: Config, registry: Named, as_json: AsJson, **own: Any) -> None:
            with opened(config, registry, as_json) as shell:
                act(shell, **own)  # type: ignore[call-arg]

        run.__doc__ = act.__doc__
        run.__signature__ = signature = _with_common(act)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        app.command(name or act.__name__)(run)
        return act

    return register


def _with_common(act: Callable[..., None]) -> inspect.Signature:
    """The command line of ``act``: its own arguments, then the common options."""
    own = list(inspect.signature(act, eval_str=True).parameters.values())[1:]
    common = {"config": (Config, None), "registry": (Named, None), "as_json": (AsJson, False)}
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [p.replace(kind=keyword) for p in own]
        + [
            inspect.Parameter(name, keyword, annotation=kind, default=default)
            for name, (kind, default) in common.items()
        ]
    )
