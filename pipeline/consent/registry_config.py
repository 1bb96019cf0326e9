"""The registry's own settings: places of vault, keys and models, and retention time.

A process that names a setting when it opens the registry (``RegistryOverrides``) changes it for
all; the registry stores it. A process that names none uses the stored ones. So every command works
with the same keys and retention as the server.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from pipeline.consent.face_models import FaceModels
from pipeline.consent.policy import Policy
from pipeline.errors import ConsentInvalid, PolicyInvalid

HOME: Final = Path("~/.local/share/continuum/vault")  # for registries that are no file
NONE: Final = Path("none")  # named in place of a path: as it is without any


@dataclass(frozen=True, slots=True)
class RegistryOverrides:
    """Settings named by one process; None: as stored in the registry.

    ``retention_s`` is how long evidence, picture and landmarks stay after a revocation.
    ``policy`` is checked in addition to the registry's. ``face_models`` replaces the model files.
    ``grace_s`` is how long running sessions continue while the registry is unreachable.
    """

    vault: Path | None = None
    operator_key: Path | None = None
    evidence_key: Path | None = None
    face_model: Path | None = None
    age_model: Path | None = None
    retention_s: float | None = None
    policy: Policy | None = None
    face_models: FaceModels | None = None
    grace_s: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.grace_s < float("inf"):
            raise ConsentInvalid(f"grace is 0 s or more, not {self.grace_s}")
        if self.retention_s is not None and not 0 <= self.retention_s < float("inf"):
            raise ConsentInvalid(f"retention is 0 s or more, not {self.retention_s}")


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """What a registry remembers: absolute paths, "" for none, and seconds."""

    vault: str = ""  # none: beside the registry
    operator_key: str = ""  # none: the one in the vault; so is the next
    evidence_key: str = ""
    face_model: str = ""
    age_model: str = ""
    retention_s: float = 0.0

    @classmethod
    def read(cls, document: str) -> RegistryConfig:
        """Back from JSON. Raises ``PolicyInvalid`` for what this release does not know."""
        kinds = {item.name: float if item.name == "retention_s" else str for item in fields(cls)}
        try:
            content = json.loads(document)
            if not all(isinstance(value, kinds[name]) for name, value in content.items()):
                raise TypeError("a value of another kind")
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise PolicyInvalid(
                f"the registry's configuration says what this release does not know ({error!r:.80})"
            ) from error

    def document(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    def changed(self, setup: RegistryOverrides, where: Path | str) -> RegistryConfig:
        """With what ``setup`` names, for the registry at ``where``."""
        named = {
            item.name: _written(value, beside(where) if item.name == "vault" else None)
            for item in fields(self)
            if isinstance(value := getattr(setup, item.name), Path)
        }
        kept = self.retention_s if setup.retention_s is None else setup.retention_s
        return RegistryConfig(**(asdict(self) | named | {"retention_s": float(kept)}))

    def folder(self, where: Path | str) -> Path:
        """The vault's."""
        return Path(self.vault) if self.vault else beside(where)


def beside(where: Path | str) -> Path:
    """The default place of a registry's vault."""
    return HOME.expanduser() if isinstance(where, str) else where.with_suffix(".vault")


def placed(text: str) -> Path | None:
    """A remembered path; None for none."""
    return Path(text) if text else None


def _written(named: Path, default: Path | None) -> str:
    if named == NONE:
        return ""
    place = named.expanduser().absolute()
    return "" if default is not None and place == default.absolute() else str(place)
