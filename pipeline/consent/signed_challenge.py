"""A challenge that was signed instead of spoken, with the subject's own key.

The signature covers the code, the exact picture and the statement (``words``). A valid signature
becomes the evidence, and the ``transcript`` check passes, because a machine compared the words.
That the key is the subject's remains for people to verify.
"""

from __future__ import annotations

import json
from dataclasses import replace

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pipeline.consent.records import ConsentRecord, Outcome
from pipeline.errors import ChallengeInvalid


def words(code: str, image_sha256: str, statement: str) -> bytes:
    """What the subject signs: three lines, UTF-8, without an end of line after the last."""
    return f"{code}\n{image_sha256}\n{statement}".encode()


def signed(
    record: ConsentRecord, public_key: bytes, signature: bytes
) -> tuple[ConsentRecord, bytes]:
    """The record with its words checked, and its evidence.

    ``public_key`` is Ed25519 in PEM, ``signature`` 64 bytes. Raises ``ChallengeInvalid``.
    """
    if not record.challenge:
        raise ChallengeInvalid("a signature is over a challenge code: name the one that was issued")
    said = words(record.challenge, record.image_sha256, record.statement)
    try:
        key = load_pem_public_key(public_key)
        if not isinstance(key, Ed25519PublicKey):
            raise ChallengeInvalid(f"the subject's key must be Ed25519, not {type(key).__name__}")
        key.verify(signature, said)
    except InvalidSignature as error:
        raise ChallengeInvalid(
            "the signature is not over this code, picture and statement: sign three lines, the"
            " code, the picture's SHA-256 and the statement, without a line end after the last"
        ) from error
    except (ValueError, TypeError) as error:
        raise ChallengeInvalid(f"the subject's key cannot be read: {error}") from error
    evidence = {
        "signed": said.decode(),
        "public_key": public_key.decode("ascii", "replace"),
        "signature": signature.hex(),
    }
    checked = replace(record, checks=replace(record.checks, transcript=Outcome.PASSED))
    return checked, json.dumps(evidence, ensure_ascii=False, indent=1).encode()
