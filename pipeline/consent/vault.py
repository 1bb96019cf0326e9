"""The folder beside the registry: the operator's keys, and encrypted files.

    vault/operator.pem       Ed25519: signs records and audit entries
          trusted/*.pem      public keys of former operators, still accepted
          evidence.key       AES-256, base64: encrypts the files in blobs/
          blobs/<registry>/  evidence, enrolled pictures, landmarks

Keys are created with a new registry, readable by their owner only, or named by the settings. A file
is written completely or not at all; remains of a killed process are removed when no one is writing.
"""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from pipeline.errors import EvidenceInvalid, RegistryUnavailable

MAX_BLOB: Final = 64 * 1024 * 1024
_PART: Final = ".part"
_NONCE: Final = 12
_MADE_FOR: Final = b"continuum blob 1 "


class Vault:
    """Keys and encrypted files of one installation; safe between threads and processes.

    Keys are only made where ``make`` says so. Raises ``RegistryUnavailable`` when the folder or a
    key cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        operator_key: Path | None = None,
        evidence_key: Path | None = None,
        make: bool = True,
    ) -> None:
        self.folder, self.blobs = folder, folder / "blobs"
        signing, hiding = folder / "operator.pem", folder / "evidence.key"
        with _reported(folder):
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                private = _read(operator_key) or _made(signing, _new_operator_key)
                secret = _read(evidence_key) or _made(hiding, _new_evidence_key)
            else:
                private, secret = _held(operator_key or signing), _held(evidence_key or hiding)
                _check_there(folder)
            self._operator = _private(private)
            self._cipher = AESGCM(_decoded(secret))
            self._trusted = [self._operator.public_key(), *_trusted(folder / "trusted")]

    def keep_for(self, registry: str) -> None:
        """Blobs are kept apart for each registry: one must not sweep away another's."""
        self.blobs = self.folder / "blobs" / registry
        with _reported(self.folder):
            self.blobs.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- signatures --------------------------------------------------------------------------

    def sign(self, content: bytes) -> bytes:
        """The operator's Ed25519 signature, 64 bytes."""
        return self._operator.sign(content)

    def vouches(self, content: bytes, signature: bytes) -> bool:
        """Whether the operator, or a trusted former one, signed exactly this."""
        return any(_signed_by(key, content, signature) for key in self._trusted)

    def public_key(self) -> bytes:
        """The operator's public key as PEM, to verify records or an exported log."""
        key = self._operator.public_key()
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    # -- files -------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around putting blobs *and* committing the rows that name them: nothing is swept."""
        with _reported(self.folder), self._locked(fcntl.LOCK_SH):
            yield

    def put(self, content: bytes) -> str:
        """Encrypts and writes; returns the new blob's id. Raises ``EvidenceInvalid``."""
        if not 0 < len(content) <= MAX_BLOB:
            raise EvidenceInvalid(
                f"a file may have 1 to {MAX_BLOB} bytes, this one has {len(content)}: shorten it"
            )
        name, nonce = secrets.token_hex(16), secrets.token_bytes(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, content, _MADE_FOR + name.encode())
        with _reported(self.folder):
            part = self.blobs / (name + _PART)
            _write(part, sealed)
            part.rename(self.blobs / name)
            _sync_folder(self.blobs)
        return name

    def get(self, name: str) -> bytes:
        """A blob's content. Raises ``EvidenceInvalid`` for a missing or altered one, and
        ``RegistryUnavailable`` for one that cannot be read."""
        try:
            sealed = (self.blobs / name).read_bytes()
            nonce, body = sealed[:_NONCE], sealed[_NONCE:]
            return self._cipher.decrypt(nonce, body, _MADE_FOR + name.encode())
        except FileNotFoundError as error:
            raise EvidenceInvalid(f"file {name} of the vault is missing") from error
        except OSError as error:
            raise RegistryUnavailable(
                f"file {name} of the vault cannot be read ({error})"
            ) from error
        except (InvalidTag, ValueError) as error:
            raise EvidenceInvalid(
                f"file {name} of the vault was altered, or encrypted with another key"
            ) from error

    def opens(self, name: str) -> bool:
        """Whether this vault's key is the one that a blob was encrypted with."""
        try:
            self.get(name)
        except EvidenceInvalid:
            return False
        return True

    def delete(self, name: str) -> None:
        """Removes a blob; one that is gone is no error."""
        with _reported(self.folder):
            (self.blobs / name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Every file that lies among the blobs."""
        return {path.name for path in self.blobs.iterdir() if path.name != ".lock"}

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Yields whether no other process is writing; none can begin while the block lasts."""
        with _reported(self.folder):
            try:
                with self._locked(fcntl.LOCK_EX | fcntl.LOCK_NB):
                    yield True
            except BlockingIOError:
                yield False

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        descriptor = os.open(self.blobs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)


def voucher(public_key: Path) -> Callable[[bytes, bytes], bool]:
    """What ``Vault.vouches`` is, of one public key alone. Raises ``RegistryUnavailable``."""
    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError) as error:
        raise RegistryUnavailable(f"public key {public_key} cannot be read: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise RegistryUnavailable(f"an operator's key is Ed25519, not {type(key).__name__}")
    return partial(_signed_by, key)


def _signed_by(key: Ed25519PublicKey, content: bytes, signature: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RegistryUnavailable(
            f"the consent registry's vault {folder} cannot be used ({error}):"
            " name a writable folder for it"
        ) from error


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.expanduser().read_bytes()


_BRING_BACK: Final = "name the folder of its vault once in the settings, or bring it back"


def _held(path: Path) -> bytes:
    """The key in the file, which the registry was written with."""
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError as error:
        raise RegistryUnavailable(
            f"there is no key at {path}, and a new one would not fit this registry: {_BRING_BACK}"
        ) from error


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise RegistryUnavailable(f"there is no vault at {folder}: {_BRING_BACK}")


def _made(path: Path, new: object) -> bytes:
    """The key in the file; made first where there is none. Of two at once, one wins."""
    if not path.exists():
        assert callable(new)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        _write(part, new())
        with suppress(FileExistsError):
            os.link(part, path)
        part.unlink()
        _sync_folder(path.parent)
    return path.read_bytes()


def _new_operator_key() -> bytes:
    key = Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _new_evidence_key() -> bytes:
    return base64.b64encode(AESGCM.generate_key(256)) + b"\n"


def _private(pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise RegistryUnavailable(f"the operator's key cannot be read: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RegistryUnavailable(f"the operator's key must be Ed25519, not {type(key).__name__}")
    return key


def _trusted(folder: Path) -> list[Ed25519PublicKey]:
    keys = []
    for path in sorted(folder.glob("*.pem")) if folder.is_dir() else []:
        key = load_pem_public_key(path.read_bytes())
        if isinstance(key, Ed25519PublicKey):
            keys.append(key)
    return keys


def _decoded(text: bytes) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except ValueError as error:
        raise RegistryUnavailable(f"the evidence key is not base64: {error}") from error
    if len(key) != 32:
        raise RegistryUnavailable(f"the evidence key must have 32 bytes, not {len(key)}")
    return key


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
