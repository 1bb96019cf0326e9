"""``python -m pipeline.consent``: write, list and revoke consent records from a shell."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.consent.registry import ConsentRecord, Kind, Registry, Scope, new_record, sha256_of
from pipeline.errors import ContinuumError, PictureMissing

DEFAULT_REGISTRY: Final = Path("~/.local/share/continuum/consents.sqlite")
DAY_S: Final = 24 * 3600.0


def add_registry_option(parser: argparse.ArgumentParser) -> None:
    """The ``--registry`` option, the same for every command that needs consent."""
    parser.add_argument(
        "--registry",
        type=Path,
        default=DEFAULT_REGISTRY,
        metavar="FILE",
        help=f"consent registry (default {DEFAULT_REGISTRY})",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one sub-command; 0 on success, 2 with one line on stderr when it is refused."""
    arguments = _parser().parse_args(argv)
    try:
        registry = Registry(arguments.registry.expanduser())
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
    parser.add_argument("--image", type=Path, required=True, help="the reference picture")
    parser.add_argument("--subject", required=True, help="name or pseudonymous id of the person")
    parser.add_argument("--kind", type=Kind, choices=list(Kind), required=True)
    parser.add_argument("--statement", required=True, help="what the person agreed to")
    parser.add_argument("--verified-by", default="operator", help="who checked it, and how")
    parser.add_argument(
        "--scope",
        type=Scope,
        choices=list(Scope),
        action="append",
        help="allowed use, repeatable (default: all)",
    )
    parser.add_argument("--days", type=float, help="expires after so many days (default: never)")
    parser.set_defaults(run=_add)


def _add(registry: Registry, arguments: argparse.Namespace) -> str:
    now = registry.clock()
    record = new_record(
        subject=arguments.subject,
        kind=arguments.kind,
        statement=arguments.statement,
        image_sha256=_hash(arguments.image),
        scopes=arguments.scope or tuple(Scope),
        verified_by=arguments.verified_by,
        expires_at=None if arguments.days is None else now + arguments.days * DAY_S,
        now=now,
    )
    return registry.add(record).id


def _hash(image: Path) -> str:
    try:
        return sha256_of(image)
    except OSError as error:
        raise PictureMissing(f"cannot read picture {image}: {error.strerror}") from error


def _list(registry: Registry, _: argparse.Namespace) -> str:
    rows = [_row(record, registry.clock()) for record in registry.all()]
    return "\n".join(rows) or "no consent records"


def _revoke(registry: Registry, arguments: argparse.Namespace) -> str:
    return _row(registry.revoke(arguments.id), registry.clock())


def _row(record: ConsentRecord, now: float) -> str:
    created = time.strftime("%Y-%m-%d", time.gmtime(record.created_at))
    scopes = ",".join(sorted(record.scopes))
    return (
        f"{record.id}  {_standing(record, now):<8} {created}  {record.kind:<11} {scopes:<15}"
        f" {record.image_sha256[:12]}  {record.subject}"
    )


def _standing(record: ConsentRecord, now: float) -> str:
    if record.revoked_at is not None:
        return "revoked"
    expired = record.expires_at is not None and now >= record.expires_at
    return "expired" if expired else "live"
