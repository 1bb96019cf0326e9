"""Who agreed to be spoken through, and the gate that asks before anything is generated.

``registry`` keeps the records, ``gate`` turns a live and matching one into a ``ConsentGrant``,
``python -m pipeline.consent`` writes, lists and revokes records from a shell.
"""

from pipeline.consent.gate import ConsentGate, ConsentGrant
from pipeline.consent.registry import ConsentRecord, Kind, Registry, Scope, sha256_of

__all__ = [
    "ConsentGate",
    "ConsentGrant",
    "ConsentRecord",
    "Kind",
    "Registry",
    "Scope",
    "sha256_of",
]
