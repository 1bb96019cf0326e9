"""Consent records as rows of the table, and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from pipeline.consent.records import Checks, ConsentRecord, Kind, Outcome, Scope
from pipeline.consent.schema import consents
from pipeline.errors import ConsentInvalid, ConsentTampered

_FIELDS: Final = tuple(item.name for item in fields(ConsentRecord))
COLUMNS: Final = tuple(consents.c[name] for name in _FIELDS)


def row_of(record: ConsentRecord) -> dict[str, Any]:
    """A record as the table keeps it."""
    row = {name: getattr(record, name) for name in _FIELDS}
    done = {k: str(v) for k, v in record.checks.named().items() if v is not Outcome.NOT_DONE}
    return row | {
        "kind": str(record.kind),
        "scopes": " ".join(sorted(record.scopes)),
        "checks": json.dumps(done, sort_keys=True) if done else "",
    }


def record_of(row: Sequence[Any]) -> ConsentRecord:
    """A record from its columns, in the order of ``COLUMNS``.

    Raises ``ConsentTampered`` for what no release wrote.
    """
    content = dict(zip(_FIELDS, row, strict=True))
    try:
        return _read(content)
    except (ConsentInvalid, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConsentTampered(
            f"consent {content['id']!s:.80} cannot be read ({error!s:.200}): its row was damaged,"
            " or written by a newer release; it does not stand"
        ) from error


def _read(content: dict[str, Any]) -> ConsentRecord:
    done = json.loads(content["checks"] or "{}")
    content |= {
        "kind": Kind(content["kind"]),
        "scopes": frozenset(Scope(scope) for scope in content["scopes"].split()),
        "checks": Checks(**{name: Outcome(value) for name, value in done.items()}),
        "fingerprint": _bytes(content["fingerprint"]),
        "signature": _bytes(content["signature"]),
    }
    return ConsentRecord(**content)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes | memoryview):
        raise TypeError(f"bytes are wanted, not {type(value).__name__}")
    return bytes(value)
