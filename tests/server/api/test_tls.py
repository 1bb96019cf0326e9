"""https by ourselves, from the certificate to a call; and what cannot be used is named first."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import ipaddress
import json
import logging
import os
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import ClientConnectorCertificateError, ClientError, ClientSession, TCPConnector
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from server.api import tls
from server.api.security_headers import HSTS
from server.auth.keys import KeyRole, KeyStore
from server.settings import Settings, SettingsError
from tests.client.conftest import speech
from tests.fakes_server import FakePipeline, FakeSource
from tests.server.caller import calling, voice
from tests.server.conftest import serving

__all__ = ["speech"]  # a fixture
ROOT = Path(__file__).resolve().parents[3]
DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM


@dataclasses.dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as files."""

    cert: Path
    key: Path

    @property
    def settings(self) -> Settings:
        return Settings(tls_cert=str(self.cert), tls_key=str(self.key))

    @property
    def trusting(self) -> ssl.SSLContext:
        """How a client sees it that trusts this certificate and no other."""
        return ssl.create_default_context(cafile=str(self.cert))


def make_pair(folder: Path, until: datetime.timedelta = DAY, passphrase: bytes = b"") -> Pair:
    """A certificate for this machine that signs itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), loopback]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = serialization.BestAvailableEncryption(passphrase) if passphrase else None
    form = (PEM, serialization.PrivateFormat.PKCS8, lock or serialization.NoEncryption())
    folder.mkdir(exist_ok=True)
    (folder / "cert.pem").write_bytes(certificate.public_bytes(PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(*form))
    return Pair(folder / "cert.pem", folder / "key.pem")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "pair")


@pytest.fixture
def served_url(pair: Pair, tmp_path: Path) -> Iterator[str]:
    """A server in a process of its own."""
    flags = {"port": 0, "tls-cert": pair.cert, "tls-key": pair.key, "keys": tmp_path / "k.sqlite"}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.serve_fake", *argv, "--slots", "3", "--drain-s", "0"],
        cwd=ROOT,
        env={**os.environ, "TICK_S": "0.002"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.wait(30)
    process.stdout.close()


async def until_ready(http: ClientSession) -> None:
    async with asyncio.timeout(30):
        while (await http.get("/readyz")).status != 200:
            pass


# -- end to end --------------------------------------------------------------------------------


async def test_a_call_goes_over_https_and_only_for_who_trusts_the_certificate(
    served_url: str, pair: Pair
) -> None:
    assert served_url.startswith("https://localhost:")
    connector = TCPConnector(ssl=pair.trusting)
    async with ClientSession(served_url, connector=connector) as http:
        await until_ready(http)
        page = await http.get("/")
        assert page.status == 200 and "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in page.headers, "localhost is not ours alone"
        async with calling(http, speak=voice) as caller:
            await caller.event("ready")
            await caller.until(lambda: len(caller.pictures) > 10 and len(caller.sounds) > 20)
            ended = await http.delete(caller.session, headers=caller.auth)
            assert ended.status == 200
    async with ClientSession() as stranger:
        with pytest.raises(ClientConnectorCertificateError):
            await stranger.get(served_url)
        with pytest.raises(ClientError):
            await stranger.get(served_url.replace("https", "http"))


def test_the_headless_client_calls_over_https(
    served_url: str, pair: Pair, speech: Path, tmp_path: Path
) -> None:
    result = tmp_path / "result.json"
    flags = {"url": served_url, "avatar": "mira", "audio": speech, "json": result}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    for trusted, status in (({"SSL_CERT_FILE": str(pair.cert)}, 0), ({}, 2)):
        done = subprocess.run(
            [sys.executable, "-m", "client.call", *argv],
            cwd=ROOT,
            env={**os.environ, **trusted},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        if status:
            assert done.stderr.count("\n") == 1 and "certificate" in done.stderr.lower()
        else:
            assert json.loads(result.read_text())["pictures"] > 10


async def test_names_that_are_ours_are_https_for_ever(pair: Pair, tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys.sqlite")
    _, key = store.create("ops", KeyRole.OPERATOR)
    store.close()
    told = {"Host": "avatar.example.net", "Authorization": f"Bearer {key}"}
    for base, wanted in ((pair.settings, HSTS), (Settings(), None)):
        settings = dataclasses.replace(base, slots=1, keys=str(store.path), drain_s=0)
        async with serving(settings, FakePipeline(), FakeSource()) as found:
            for path in ("/", "/v1/avatars", "/nothing"):
                headers = (await found.http.get(path, headers=told)).headers
                assert headers.get("Strict-Transport-Security") == wanted, path


# -- what cannot be used -----------------------------------------------------------------------


def _mixed(pair: Pair) -> None:
    pair.key.write_bytes(make_pair(pair.key.parent / "other").key.read_bytes())


def _locked(pair: Pair) -> None:
    make_pair(pair.key.parent, passphrase=b"secret")


FAULTS: dict[str, tuple[Callable[[Pair], object], str]] = {
    "no certificate": (lambda p: p.cert.unlink(), r"tls_cert: cannot read .*cert\.pem: No such"),
    "no key": (lambda p: p.key.unlink(), r"tls_key: cannot read .*key\.pem: No such"),
    "a folder": (lambda p: (p.key.unlink(), p.key.mkdir()), r"tls_key: cannot read .*directory"),
    "noise": (lambda p: p.cert.write_bytes(os.urandom(900)), r"cert\.pem holds no certificate"),
    "nothing": (lambda p: p.cert.write_bytes(b""), r"cert\.pem holds no certificate"),
    "swapped": (lambda p: p.cert.write_bytes(p.key.read_bytes()), r"holds no certificate"),
    "a key of noise": (lambda p: p.key.write_bytes(b"noise"), r"key\.pem do not go together"),
    "another key": (_mixed, r"key\.pem do not go together"),
    "a locked key": (_locked, r"key\.pem is locked with a passphrase"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_used_is_named(pair: Pair, fault: str) -> None:
    spoil, said = FAULTS[fault]
    spoil(pair)
    with pytest.raises(SettingsError, match=said) as refusal:
        tls.context(pair.settings)
    assert "\n" not in str(refusal.value) and "secret" not in str(refusal.value)


def test_the_server_says_so_in_one_line_before_anything_starts(pair: Pair, tmp_path: Path) -> None:
    pair.key.write_bytes(b"noise")
    flags = {"port": 0, "keys": tmp_path / "k", "registry": tmp_path / "c.sqlite"}
    flags |= {"tls-cert": pair.cert, "tls-key": pair.key, "recordings": tmp_path / "tapes"}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    done = subprocess.run(
        [sys.executable, "run_server.py", *argv],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("run_server: tls_cert ") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pair"]


def test_old_versions_of_tls_are_not_spoken(pair: Pair) -> None:
    context = tls.context(pair.settings)
    assert context is not None and context.minimum_version is ssl.TLSVersion.TLSv1_2
    old = pair.trusting
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    assert not _agree(context, old)
    assert _agree(context, pair.trusting)


def _agree(server: ssl.SSLContext, client: ssl.SSLContext) -> bool:
    """Whether a handshake in memory ends well."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(up, down, server_side=True),
        client.wrap_bio(down, up, server_hostname="localhost"),
    ]
    for _ in range(10):
        done = 0
        for side in sides:
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
        if done == 2:
            return True
    return False


def test_a_certificate_out_of_its_dates_is_served_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pair = make_pair(tmp_path / "old", until=-DAY)
    with caplog.at_level(logging.WARNING):
        assert tls.context(pair.settings) is not None
    assert "browsers refuse it" in caplog.text


def test_without_a_certificate_there_is_no_tls() -> None:
    assert tls.context(Settings()) is None


def test_a_home_folder_is_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(pair.cert.parent))
    assert tls.context(Settings(tls_cert="~/cert.pem", tls_key="~/key.pem")) is not None
