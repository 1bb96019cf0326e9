"""Options of commands that need consent: which registry, which policy on top, and the pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from pipeline.consent.policy import load_policy
from pipeline.consent.registry import Registry, RegistryOverrides
from pipeline.errors import PictureMissing

DEFAULT_REGISTRY: Final = Path("~/.local/share/continuum/consents.sqlite")


def add_registry_option(parser: argparse.ArgumentParser) -> None:
    """``--registry`` and ``--policy``, the same for every command that needs consent."""
    parser.add_argument(
        "--registry",
        type=_where,
        default=DEFAULT_REGISTRY,
        metavar="FILE|URL",
        help=f"consent registry (default {DEFAULT_REGISTRY})",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="stricter policy, on top of the registry's own"
    )


def registry_of(arguments: argparse.Namespace) -> Registry:
    """The registry that ``add_registry_option`` names. Raises a ``ConsentError``."""
    policy = load_policy(arguments.policy) if arguments.policy else None
    return Registry(arguments.registry, setup=RegistryOverrides(policy=policy))


def _where(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def read_picture(path: Path) -> bytes:
    """A picture's file; raises ``PictureMissing``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureMissing(f"cannot read picture {path}: {error.strerror}") from error
