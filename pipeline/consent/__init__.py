"""Consent: who agreed to be generated, and the gate that checks it before anything is generated.

``registry`` keeps signed records, evidence and the audit log, ``validator`` says whether a record
is valid, ``gate`` turns a valid one into a ``ConsentGrant``. For operators: docs/consent.md.
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
