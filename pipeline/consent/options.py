"""``python -m pipeline.consent``: write, list and revoke consent records from a shell.

The little brother of ``continuum consent``, which also knows evidence, checks and challenges.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.consent.policy import load_policy
from pipeline.consent.records import DAY_S, ConsentRecord, Kind, Scope, new_record, sha256_of
from pipeline.consent.registry import Registry, RegistryOverrides
from pipeline.errors import ContinuumError, PictureMissing

DEFAULT_REGISTRY: Final = Path("~/.local/share/continuum/consents.sqlite")


def add_registry_option(parser: argparse.ArgumentParser) -> None:
    """The ``--registry`` option, the same for every command that needs consent."""
    parser.add_argument(
        "--registry",
        type=_where,
        default=DEFAULT_REGISTRY,
        metavar="FILE|URL",
        help=f"consent registry (default {DEFAULT_REGISTRY})",
    )
    parser.add_argument(
        "--policy", type=Path, metavar="FILE", help="asked on top of the registry's own policy"
    )


def registry_of(arguments: argparse.Namespace) -> Registry:
    """The registry that ``add_registry_option`` names. Raises a ``ConsentError``."""
    policy = load_policy(arguments.policy) if arguments.policy else None
    return Registry(arguments.registry, setup=RegistryOverrides(policy=policy))


def _where(text: str) -> Path | str:
    return text if "://" in text else Path(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command; 0 on success, 2 with one line on stderr when it is refused."""
    arguments = _parser().parse_args(argv)
    try:
        registry = registry_of(arguments)
        try:
            print(arguments.run(registry, arguments))
        finally:
            registry.close()
    except ContinuumError as error:
        print(f"consent: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pipeline.consent", description=__doc__)
    add_registry_option(parser)
    commands = parser.add_subparsers(required=True, metavar="add | list | revoke")
    _add_parser(commands.add_parser("add", help="record somebody's consent; prints its id"))
    commands.add_parser("list", help="show every record").set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="withdraw consent, from now on")
    revoke.add_argument("id", help="the record's id")
    revoke.set_defaults(run=_revoke)
    return parser


def _add_parser(parser: argparse.ArgumentParser) -> None:
    add_record_options(parser)
    parser.set_defaults(run=_add)


def add_record_options(parser: argparse.ArgumentParser) -> None:
    """What a record says, as options; ``record_from`` reads them."""
    parser.add_argument("--image", type=Path, required=True, help="the reference picture")
    parser.add_argument("--subject", required=True, help="name or pseudonymous id of the person")
    parser.add_argument("--kind", type=Kind, choices=list(Kind), required=True)
    parser.add_argument("--statement", required=True, help="what the person agreed to")
    age = parser.add_mutually_exclusive_group(required=True)
    age.add_argument("--adult", action="store_true", help="you attest that they are 18 or older")
    age.add_argument("--birth-year", type=int, metavar="YEAR", help="of the person")
    parser.add_argument("--verified-by", default="operator", help="who checked it, and how")
    parser.add_argument(
        "--scope",
        type=Scope,
        choices=list(Scope),
        action="append",
        help="allowed use, repeatable (default: live and recording)",
    )
    parser.add_argument("--territory", default="", help="country codes as in DE,AT (default: all)")
    parser.add_argument("--days", type=float, help="expires after so many days (default: never)")


def record_from(
    arguments: argparse.Namespace, now: float, challenge: str = ""
) -> tuple[ConsentRecord, bytes]:
    """The record that the options describe, and the picture's file. ``ConsentInvalid``."""
    picture = read_picture(arguments.image)
    record = new_record(
        subject=arguments.subject,
        kind=arguments.kind,
        statement=arguments.statement,
        image_sha256=sha256_of(picture),
        scopes=arguments.scope or (Scope.LIVE, Scope.RECORDING),
        verified_by=arguments.verified_by,
        expires_at=None if arguments.days is None else now + arguments.days * DAY_S,
        now=now,
        adult=arguments.adult,
        birth_year=arguments.birth_year,
        territory=arguments.territory,
        challenge=challenge,
    )
    return record, picture


def read_picture(path: Path) -> bytes:
    """A picture's file; raises ``PictureMissing``."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureMissing(f"cannot read picture {path}: {error.strerror}") from error


def _add(registry: Registry, arguments: argparse.Namespace) -> str:
    record, picture = record_from(arguments, registry.clock())
    return registry.add(record, picture=picture).id


def _list(registry: Registry, _: argparse.Namespace) -> str:
    rows = [_row(record, registry.clock()) for record in registry.all()]
    return "\n".join(rows) or "no consent records"


def _revoke(registry: Registry, arguments: argparse.Namespace) -> str:
    return _row(registry.revoke(arguments.id), registry.clock())


def _row(record: ConsentRecord, now: float) -> str:
    created = time.strftime("%Y-%m-%d", time.gmtime(record.created_at))
    scopes = ",".join(sorted(record.scopes))
    return (
        f"{record.id}  {record.standing(now):<8} {created}  {record.kind:<11} {scopes:<15}"
        f" {record.image_sha256[:12]}  {record.subject}"
    )
