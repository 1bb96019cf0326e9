"""What every sub-command works with: the registry, who is at the keyboard, how to print."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from pipeline.consent import Registry
from server.cli.output import Output


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
