"""``continuum consent``: from a challenge code to a verified record, and its revocation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pipeline.consent import Outcome
from pipeline.consent.options import add_record_options, read_picture, record_from
from pipeline.consent.records import ConsentRecord
from pipeline.consent.signed_challenge import signed
from pipeline.errors import ConsentInvalid, EvidenceInvalid
from server.api.consents import describe
from server.cli.output import moment
from server.cli.shell import Shell

COLUMNS = ("id", "standing", "subject", "kind", "scopes", "checks", "created_at", "expires_at")


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every sub-command of ``consent``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[common])
        added.set_defaults(run=run)
        return added

    asked = command("challenge", "issue a code that the subject says in the recording", _challenge)
    asked.add_argument("--subject", required=True, help="who will say it")
    asked.add_argument("--minutes", type=float, default=60.0, help="how long it is good for")
    add = command("add", "record somebody's consent; prints its id", _add)
    add_record_options(add)
    add.add_argument("--challenge", default="", metavar="CODE", help="what the subject said")
    proof = add.add_mutually_exclusive_group()
    proof.add_argument("--evidence", type=Path, metavar="FILE", help="recording, kept encrypted")
    proof.add_argument("--signature", type=Path, metavar="FILE", help="64 bytes, in its place")
    add.add_argument("--subject-key", type=Path, metavar="PEM", help="Ed25519, of --signature")
    command("list", "show every record", _list)
    _with_id(command("show", "everything about one record", _show))
    verify = _with_id(command("verify", "enter how checks of the evidence ended", _verify))
    verify.add_argument("--by", required=True, help="who checked it, and how")
    for check in ("transcript", "face", "voice"):
        verify.add_argument(f"--{check}", type=Outcome, choices=list(Outcome))
    complete = _with_id(
        command("complete", "add what a record of an older release lacks", _complete)
    )
    complete.add_argument("--image", type=Path, required=True, help="its reference picture")
    complete.add_argument("--adult", action="store_true", help="you attest: 18 or older")
    complete.add_argument("--birth-year", type=int, metavar="YEAR")
    evidence = _with_id(command("evidence", "decrypt the evidence into a file", _evidence))
    evidence.add_argument("--out", type=Path, required=True, metavar="FILE")
    revoke = _with_id(command("revoke", "withdraw consent: running sessions end", _revoke))
    revoke.add_argument("--reason", default="", help="for the audit log")


def _with_id(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("id", help="the record's id")
    return parser


def _challenge(shell: Shell, arguments: argparse.Namespace) -> None:
    issued = shell.registry.challenges.issue(
        arguments.subject, actor=shell.actor, lifetime_s=arguments.minutes * 60
    )
    row = {"code": issued.code, "subject": issued.subject, "expires_at": issued.expires_at}
    shell.output.one(row, f"{issued.code}  good until {moment(issued.expires_at)}")


def _add(shell: Shell, arguments: argparse.Namespace) -> None:
    record, picture = record_from(arguments, shell.registry.clock(), arguments.challenge)
    evidence = _file(arguments.evidence)
    if arguments.signature is not None or arguments.subject_key is not None:
        key, signature = _file(arguments.subject_key), _file(arguments.signature)
        record, evidence = signed(record, key or b"", signature or b"")
    added = shell.registry.add(record, picture=picture, evidence=evidence, actor=shell.actor)
    _say(shell, added, added.id)


def _list(shell: Shell, _: argparse.Namespace) -> None:
    now = shell.registry.clock()
    rows = [_row(describe(record, now)) for record in shell.registry.all()]
    shell.output.rows(rows, "no consent records", COLUMNS)


def _show(shell: Shell, arguments: argparse.Namespace) -> None:
    record = shell.registry.get(arguments.id)
    alike = [
        f"{found.other} ({found.how}, {found.score:.2f})"
        for found in shell.registry.denials.alike(record.id)
    ]
    content = describe(record, shell.registry.clock())
    lifted = shell.registry.denials.overridden(record.id)
    shell.output.fields(content | {"alike": alike, "override": lifted})


def _verify(shell: Shell, arguments: argparse.Namespace) -> None:
    named = {name: getattr(arguments, name) for name in ("transcript", "face", "voice")}
    outcomes = {name: outcome for name, outcome in named.items() if outcome is not None}
    if not outcomes:
        raise ConsentInvalid("name at least one of --transcript, --face, --voice")
    record = shell.registry.verify(arguments.id, outcomes, arguments.by, actor=shell.actor)
    checks = ", ".join(f"{name} {outcome}" for name, outcome in record.checks.named().items())
    _say(shell, record, f"{record.id}  {checks}")


def _complete(shell: Shell, arguments: argparse.Namespace) -> None:
    record = shell.registry.complete(
        arguments.id,
        picture=read_picture(arguments.image),
        adult=arguments.adult,
        birth_year=arguments.birth_year,
        actor=shell.actor,
    )
    _say(shell, record, f"{record.id}  {record.standing(shell.registry.clock())}")


def _evidence(shell: Shell, arguments: argparse.Namespace) -> None:
    content = shell.registry.evidence(arguments.id)
    if content is None:
        raise EvidenceInvalid(f"consent {arguments.id} has no evidence, or no longer")
    shell.registry.log.record("evidence.read", actor=shell.actor, consent_id=arguments.id)
    try:
        arguments.out.write_bytes(content)
    except OSError as error:
        raise EvidenceInvalid(f"cannot write {arguments.out}: {error.strerror}") from error
    row = {"id": arguments.id, "out": str(arguments.out), "bytes": len(content)}
    shell.output.one(row, f"{arguments.out}: {len(content)} bytes")


def _revoke(shell: Shell, arguments: argparse.Namespace) -> None:
    record = shell.registry.revoke(arguments.id, actor=shell.actor, reason=arguments.reason)
    _say(shell, record, f"{record.id}  revoked {moment(record.revoked_at or 0.0)}")


def _say(shell: Shell, record: ConsentRecord, plain: str) -> None:
    shell.output.one(describe(record, shell.registry.clock()), plain)


def _row(content: dict[str, Any]) -> dict[str, Any]:
    done = {name: o for name, o in content["checks"].items() if o != Outcome.NOT_DONE}
    return content | {"checks": done}


def _file(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise EvidenceInvalid(f"cannot read evidence {path}: {error.strerror}") from error
