"""Who agreed to be spoken through, and the gate that asks before anything is generated.

``registry`` keeps signed records, evidence and the audit log, ``judge`` says whether a record
stands, ``gate`` turns one that does into a ``ConsentGrant``; docs/consent.md is for operators.
"""

from pipeline.consent.gate import ConsentGate
from pipeline.consent.grant import ConsentGrant
from pipeline.consent.records import ConsentRecord, Kind, Outcome, Scope, sha256_of
from pipeline.consent.registry import Registry
from pipeline.consent.registry_config import RegistryOverrides

__all__ = [
    "ConsentGate",
    "ConsentGrant",
    "ConsentRecord",
    "Kind",
    "Outcome",
    "Registry",
    "Scope",
    "RegistryOverrides",
    "sha256_of",
]
