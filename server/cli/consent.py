"""``continuum consent``: from a challenge code to a verified record, and its revocation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.consent import Kind, Outcome, Scope
from pipeline.consent.options import read_picture
from pipeline.consent.records import DAY_S, ConsentRecord, describe, new_record, sha256_of
from pipeline.consent.signed_challenge import signed
from pipeline.errors import ConsentInvalid, EvidenceInvalid
from server.cli.output import moment
from server.cli.shell import Reason, Shell, group, registry_command

COLUMNS = ("id", "standing", "subject", "kind", "scopes", "checks", "created_at", "expires_at")

app = group("Consent records: who agreed to what.")

RecordId = Annotated[str, typer.Argument(metavar="ID", help="Id of the record: c-...")]
Adult = Annotated[bool, typer.Option("--adult", help="You attest that they are 18 or older.")]
BirthYear = Annotated[int | None, typer.Option(metavar="YEAR", help="Their year of birth.")]
Check = Annotated[Outcome | None, typer.Option(help="How this check ended.")]


@registry_command(app)
def challenge(
    shell: Shell,
    subject: Annotated[str, typer.Option(help="Who will say the code.")],
    minutes: Annotated[float, typer.Option(help="How long the code is valid.")] = 60.0,
) -> None:
    """Issue a code that the person says in their recording."""
    issued = shell.registry.challenges.issue(subject, actor=shell.actor, lifetime_s=minutes * 60)
    row = {"code": issued.code, "subject": issued.subject, "expires_at": issued.expires_at}
    shell.output.one(row, f"{issued.code}  good until {moment(issued.expires_at)}")


@registry_command(app)
def add(
    shell: Shell,
    image: Annotated[Path, typer.Option(help="The reference picture: this very file.")],
    subject: Annotated[str, typer.Option(help="Name or pseudonymous id of the person.")],
    kind: Annotated[Kind, typer.Option(help="Who the person is to you.")],
    statement: Annotated[str, typer.Option(help="What the person agreed to.")],
    adult: Adult = False,
    birth_year: BirthYear = None,
    verified_by: Annotated[str, typer.Option(help="Who checked it, and how.")] = "operator",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="Allowed use; repeatable. Default: live and recording."),
    ] = None,
    territory: Annotated[str, typer.Option(help="Countries, as in DE,AT. Default: all.")] = "",
    days: Annotated[
        float | None, typer.Option(help="Days until it expires. Default: never.")
    ] = None,
    challenge: Annotated[str, typer.Option(metavar="CODE", help="The code they said.")] = "",
    evidence: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Their recording; kept encrypted.")
    ] = None,
    signature: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Their signature (64 bytes), instead of --evidence."),
    ] = None,
    subject_key: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Their Ed25519 public key, for --signature."),
    ] = None,
) -> None:
    """Record somebody's consent. Prints the id of the record.

    Name --adult or --birth-year; of --evidence and --signature at most one.
    """
    if adult == (birth_year is not None):
        raise ConsentInvalid("name one of --adult and --birth-year: minors cannot be enrolled")
    if evidence is not None and signature is not None:
        raise EvidenceInvalid("name --evidence or --signature, not both")
    picture, now = read_picture(image), shell.registry.clock()
    record = new_record(
        subject=subject,
        kind=kind,
        statement=statement,
        image_sha256=sha256_of(picture),
        scopes=scope or (Scope.LIVE, Scope.RECORDING),
        verified_by=verified_by,
        expires_at=None if days is None else now + days * DAY_S,
        now=now,
        adult=adult,
        birth_year=birth_year,
        territory=territory,
        challenge=challenge,
    )
    proof = _file(evidence)
    if signature is not None or subject_key is not None:
        record, proof = signed(record, _file(subject_key) or b"", _file(signature) or b"")
    added = shell.registry.add(record, picture=picture, evidence=proof, actor=shell.actor)
    _say(shell, added, added.id)


@registry_command(app, "list")
def show_all(shell: Shell) -> None:
    """List all records."""
    now = shell.registry.clock()
    rows = [_row(describe(record, now)) for record in shell.registry.all()]
    shell.output.rows(rows, "no consent records", COLUMNS)


@registry_command(app)
def show(shell: Shell, id: RecordId) -> None:  # noqa: A002  the argument's name on the line
    """Show everything about one record."""
    record = shell.registry.get(id)
    alike = [
        f"{found.other} ({found.how}, {found.score:.2f})"
        for found in shell.registry.denials.alike(record.id)
    ]
    content = describe(record, shell.registry.clock())
    lifted = shell.registry.denials.overridden(record.id)
    shell.output.fields(content | {"alike": alike, "override": lifted})


@registry_command(app)
def verify(
    shell: Shell,
    id: RecordId,  # noqa: A002
    by: Annotated[str, typer.Option(help="Who checked it, and how.")],
    transcript: Check = None,
    face: Check = None,
    voice: Check = None,
) -> None:
    """Enter the results of your checks. They compare words, face and voice in the recording."""
    named = {"transcript": transcript, "face": face, "voice": voice}
    outcomes = {name: outcome for name, outcome in named.items() if outcome is not None}
    if not outcomes:
        raise ConsentInvalid("name at least one of --transcript, --face, --voice")
    record = shell.registry.verify(id, outcomes, by, actor=shell.actor)
    checks = ", ".join(f"{name} {outcome}" for name, outcome in record.checks.named().items())
    _say(shell, record, f"{record.id}  {checks}")


@registry_command(app)
def complete(
    shell: Shell,
    id: RecordId,  # noqa: A002
    image: Annotated[Path, typer.Option(help="The record's reference picture.")],
    adult: Adult = False,
    birth_year: BirthYear = None,
) -> None:
    """Add what a record of an older release lacks."""
    record = shell.registry.complete(
        id, picture=read_picture(image), adult=adult, birth_year=birth_year, actor=shell.actor
    )
    _say(shell, record, f"{record.id}  {record.standing(shell.registry.clock())}")


@registry_command(app)
def evidence(
    shell: Shell,
    id: RecordId,  # noqa: A002
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the copy is written.")],
) -> None:
    """Write a decrypted copy of the evidence."""
    content = shell.registry.evidence(id)
    if content is None:
        raise EvidenceInvalid(f"consent {id} has no evidence, or no longer")
    shell.registry.log.record("evidence.read", actor=shell.actor, consent_id=id)
    try:
        out.write_bytes(content)
    except OSError as error:
        raise EvidenceInvalid(f"cannot write {out}: {error.strerror}") from error
    row = {"id": id, "out": str(out), "bytes": len(content)}
    shell.output.one(row, f"{out}: {len(content)} bytes")


@registry_command(app)
def revoke(shell: Shell, id: RecordId, reason: Reason = "") -> None:  # noqa: A002
    """Withdraw consent. Running sessions end within a second."""
    record = shell.registry.revoke(id, actor=shell.actor, reason=reason)
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
