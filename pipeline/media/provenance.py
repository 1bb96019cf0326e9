"""Provenance: a signed C2PA manifest in every written file, or beside it (WebM).

The manifest names the generator, the model and the hash of the consent record, and declares the
content as made by a trained model (IPTC's ``trainedAlgorithmicMedia``). It is signed with the
operator's certificate; without one, with a temporary key pair whose name says that it identifies
nobody. C2PA 2.1, https://c2pa.org/specifications.
"""

from __future__ import annotations

import datetime
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pipeline.errors import OutputUnwritable, SealUnusable
from pipeline.media.containers import MP4, Container, container_of

SOURCE_TYPE: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
EDITED_TYPE: Final = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)
_MADE: Final = "A person's face and motion, generated from speech."
_DUBBED: Final = "A person's mouth in existing footage, redrawn for other speech."
ASSERTION: Final = "continuum.generation"
SELF_MADE: Final = "Continuum self-made certificate (vouches for nobody)"
_DAYS: Final = 30
_CURVES: Final = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}

Seal = Callable[[Path], None]
"""Puts the manifest into a finished file, in place."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a file's manifest says of how it was made."""

    model: str
    avatar: str
    consent_sha256: str
    mark: str  # the visible label, or the declaration that removed it
    source_sha256: str = ""  # of the video that was dubbed, where there was one


@dataclass(frozen=True, slots=True)
class Signer:
    """Certificate chain and private key in PEM, and the algorithm that fits them."""

    chain: bytes
    key: bytes
    algorithm: str
    self_made: bool = False

    def __repr__(self) -> str:
        return f"Signer({self.algorithm}, {'self-made' if self.self_made else 'the operator'})"


def load_signer(chain: Path, key: Path) -> Signer:
    """The operator's certificate. Raises ``SealUnusable`` when the two do not go together."""
    try:
        certificates, private = chain.read_bytes(), key.read_bytes()
        first = x509.load_pem_x509_certificates(certificates)[0]
        loaded = serialization.load_pem_private_key(private, None)
    except (OSError, ValueError, TypeError) as error:
        raise SealUnusable(
            f"c2pa certificate {chain} or key {key} is not usable: {error}"
        ) from error
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if first.public_key().public_bytes(*form) != loaded.public_key().public_bytes(*form):
        raise SealUnusable(f"the key in {key} is not that of the certificate in {chain}")
    return Signer(certificates, private, _algorithm(loaded))


def _algorithm(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _CURVES.get(key.curve.name, "es256")
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    return "ed25519"


@cache
def self_made() -> Signer:
    """A certificate of our own for development: verifiers report it as untrusted."""
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, leaf_name = _name(SELF_MADE + ", root"), _name(SELF_MADE)
    authority = x509.BasicConstraints(ca=True, path_length=0)
    root = _certificate(root_name, root_key, root_name, root_key, authority)
    leaf = _certificate(
        leaf_name, leaf_key, root_name, root_key, x509.BasicConstraints(ca=False, path_length=None)
    )
    pem = serialization.Encoding.PEM
    key = leaf_key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Signer(leaf.public_bytes(pem) + root.public_bytes(pem), key, "es256", self_made=True)


def _name(text: str) -> x509.Name:
    parts = {NameOID.COMMON_NAME: text, NameOID.ORGANIZATION_NAME: "Continuum, self-made"}
    return x509.Name([x509.NameAttribute(oid, value[:64]) for oid, value in parts.items()])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    constraints: x509.BasicConstraints,
) -> x509.Certificate:
    """A certificate in the profile that C2PA asks for (section 14.5)."""
    now = datetime.datetime.now(datetime.UTC)
    ca = constraints.ca
    usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
    builder = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_DAYS))
        .add_extension(constraints, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
    )
    if not ca:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def manifest(origin: Origin, title: str, signer: Signer, mime: str = MP4.mime) -> dict[str, Any]:
    """What is signed, as c2pa's JSON, of a file of MIME type ``mime``."""
    agent = {"name": "Continuum", "version": _version()}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": EDITED_TYPE if origin.source_sha256 else SOURCE_TYPE,
        "softwareAgent": agent,
        "description": _DUBBED if origin.source_sha256 else _MADE,
    }
    said = asdict(origin) | {"certificate": "self-made" if signer.self_made else "operator"}
    return {
        "claim_generator_info": [agent],
        "title": title,
        "format": mime,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": ASSERTION, "data": said},
        ],
    }


def sealing(origin: Origin, title: str, signer: Signer | None = None) -> Seal:
    """A function that signs a finished file in place: it stands whole, signed or as it was.

    ``title`` is the name that the file will have; its ending says what it is. C2PA puts no manifest
    into WebM: there it is written to ``title`` with ``.c2pa`` behind it.
    """
    chosen, kind = signer or self_made(), container_of(Path(title))

    def seal(path: Path) -> None:
        signed = path.with_name(f".{path.name}.{secrets.token_hex(4)}.signed")
        try:
            made = _sign(manifest(origin, title, chosen, kind.mime), chosen, path, signed, kind)
            os.replace(signed, path)
            if not kind.manifest_inside:
                sidecar(path.with_name(title)).write_bytes(made)
        finally:
            signed.unlink(missing_ok=True)

    return seal


def sidecar(path: Path) -> Path:
    """Where the manifest of a file lies that cannot hold one."""
    return path.with_name(path.name + ".c2pa")


def _sign(
    content: dict[str, Any], signer: Signer, source: Path, target: Path, kind: Container
) -> bytes:
    """Writes ``source`` as ``target``, signed; returns the manifest."""
    import c2pa  # a library of 23 MB, loaded when a file is written

    # Nothing is asked of the network, and what was just made is not verified once more.
    settings = {"verify": {"verify_after_sign": False, "ocsp_fetch": False, "verify_trust": False}}
    info = c2pa.C2paSignerInfo(signer.algorithm, signer.chain, signer.key, None)
    try:
        context = c2pa.Context.from_dict(settings, signer=c2pa.Signer.from_info(info))
        with (
            context,
            c2pa.Builder.from_json(json.dumps(content), context=context) as builder,
            source.open("rb") as reading,
            target.open("w+b") as writing,
        ):
            if not kind.manifest_inside:
                builder.set_no_embed()
            return bytes(builder.sign(kind.mime, reading, writing))
    except c2pa.C2paError as error:
        raise SealUnusable(f"{source.name} cannot be signed: {error}") from error
    except OSError as error:
        raise OutputUnwritable(f"cannot write {target} ({error.strerror})") from error


def read_manifest(path: Path) -> dict[str, Any] | None:
    """The file's active manifest with its validation state, or None when there is none.

    Raises ``SealUnusable`` for one that cannot be read.
    """
    import c2pa

    kind, beside = container_of(path), sidecar(path)
    if not kind.manifest_inside and not beside.exists():
        return None
    apart = () if kind.manifest_inside else (beside.read_bytes(),)
    try:
        with path.open("rb") as file, c2pa.Reader(kind.mime, file, *apart) as reader:
            found = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise SealUnusable(f"the manifest of {path} cannot be read: {error}") from error
    active: dict[str, Any] = found["manifests"][found["active_manifest"]]
    return active | {
        "validation_state": found.get("validation_state"),
        "validation_status": found.get("validation_status", []),
    }


@cache
def _version() -> str:
    try:
        return version("continuum-avatar")
    except PackageNotFoundError:
        return "unknown"
