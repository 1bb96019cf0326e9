"""TLS: the operator's certificate, checked before anything starts."""

from __future__ import annotations

import datetime
import logging
import ssl
from pathlib import Path
from typing import NoReturn

from cryptography import x509

from server.settings import Settings, SettingsError

log = logging.getLogger(__name__)


def context(settings: Settings) -> ssl.SSLContext | None:
    """What the server's socket is wrapped in; None where a proxy terminates TLS, or there is none.

    TLS 1.2 and later. Raises ``SettingsError``, which names the file and says what to do.
    """
    if not settings.tls_cert:
        return None
    chain, key = (Path(name).expanduser() for name in (settings.tls_cert, settings.tls_key))
    first = _first(chain, _read("tls_cert", chain))
    _read("tls_key", key)
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        made.load_cert_chain(chain, key, password=lambda: _passphrase(key))
    except ssl.SSLError as failure:
        why = f"({failure.reason or failure}): the key must be the certificate's own, in PEM"
        raise SettingsError(
            f"tls_cert {chain} and tls_key {key} do not go together {why}"
        ) from failure
    _check_dates(chain, first)
    return made


def _read(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as failure:
        raise SettingsError(f"{name}: cannot read {path}: {failure.strerror}") from failure


def _first(path: Path, content: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(content)[0]
    except ValueError as failure:
        raise SettingsError(
            f"tls_cert: {path} holds no certificate in PEM ('-----BEGIN CERTIFICATE-----')"
        ) from failure


def _passphrase(key: Path) -> NoReturn:
    """Asked for by OpenSSL, which would otherwise wait for somebody at a terminal."""
    raise SettingsError(
        f"tls_key: {key} is locked with a passphrase: store it without one, readable for the"
        f" server alone (openssl pkey -in {key.name} -out plain.pem)"
    )


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    """A certificate out of its dates is served, as it may be on purpose; the log says so."""
    now = datetime.datetime.now(datetime.UTC)
    since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not since <= now <= until:
        log.warning("tls_cert %s is valid from %s to %s: browsers refuse it", path, since, until)
