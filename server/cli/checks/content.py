"""Checks of what is served: model, avatars, voices, consent registry, keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.avatars import catalogue
from pipeline.errors import ContinuumError
from pipeline.loader import is_bundled
from server.auth.access import is_loopback
from server.auth.keys import KeyStore
from server.cli.checks.finding import Finding, fail, note, ok
from server.cli.checks.machine import local
from server.consent.registry import open_registry
from server.settings import Settings
from server.speech.endpoint import Endpoint
from server.speech.voices.catalog import find_voices


def model(settings: Settings) -> Iterator[Finding]:
    """Whether the model's files are there, and where it runs."""
    if is_bundled(settings.model):
        yield ok("model", f"{settings.model}, bundled, runs on the CPU")
    elif Path(settings.model).expanduser().exists():
        advice = f"continuum model inspect {settings.model}"
        yield note("model", f"{settings.model} on {settings.device}", f"what it is: {advice}")
    else:
        yield fail("model", f"{settings.model} is neither bundled nor a path that exists")


def avatars(settings: Settings) -> Iterator[Finding]:
    """Whether each bundled avatar is whole."""
    whole = []
    for name, found in catalogue().items():
        try:
            found.card(), found.picture(), found.consent()
            whole.append(name)
        except ContinuumError as damage:
            yield fail("avatars", f"{name}: {damage}", "restore the folder from the release")
    yield ok("avatars", f"bundled: {', '.join(whole)}")


def voices(settings: Settings) -> Iterator[Finding]:
    """What reads text, and why."""
    service = Endpoint("voice", settings.voice_url, settings.voice_key, settings.voice_model)
    found = find_voices(service, settings.voice, lambda avatar: "")
    yield ok("voices", found.notice)


def registry(settings: Settings) -> Iterator[Finding]:
    """The consent registry opens, and its log is whole."""
    path = local(settings.registry)
    if path is not None and not path.is_file():
        yield ok("registry", f"{path} is not there yet; the first start makes it")
        return
    opened = open_registry(settings)
    try:
        entries = opened.log.verify("")
        people = len(opened.enrolments.all())
        where = path or "the database"
        yield ok("registry", f"{where}: {people} enrolled avatars; log intact, {entries} entries")
    finally:
        opened.close()


def keys(settings: Settings) -> Iterator[Finding]:
    """Who may use the server."""
    store = KeyStore(Path(settings.keys).expanduser())
    try:
        live = [key for key in store.all() if key.live(store.clock())]
    finally:
        store.close()
    if live:
        yield ok("keys", f"{len(live)} API keys at {store.path}")
    elif is_loopback(settings.host):
        yield ok("keys", "none: requests from this computer only")
    else:
        advice = "continuum key create NAME --role operator"
        yield fail("keys", f"host {settings.host} can be reached by others, no key", advice)
