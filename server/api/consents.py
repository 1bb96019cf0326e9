"""Consent and audit over HTTP (docs/protocol.md, section 12), for operators.

Blocking work runs on a thread. Pictures and evidence are read up to a limit and never written to
disk unencrypted. Pictures are decoded in a separate process, because uploaded files are untrusted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import islice
from typing import Any, Final, TypeVar

from aiohttp import web
from PIL import Image

from pipeline.consent import ConsentRecord, Registry, sha256_of
from pipeline.consent.audit import Filter
from pipeline.consent.records import CHECKS, describe, new_record
from pipeline.consent.signed_challenge import signed
from pipeline.consent.vault import MAX_BLOB
from pipeline.media.image_file import Bounds, hashed
from pipeline.media.image_sandbox import load_picture
from server.api import answers
from server.api.forms import parse_object, read_form, read_json
from server.api.links import link
from server.api.middleware import MANAGER, SETTINGS, UPLOADS, respond
from server.api.requests import (
    MAX_PAGE,
    AuditQuery,
    CheckOutcomes,
    ConsentForm,
    ConsentQuery,
    NewChallenge,
    NewRecord,
    RevocationQuery,
)
from server.api.routes import FORM, Content, RouteTable
from server.api.validation import parse, parse_query
from server.auth.access import CALLER, May
from server.avatars.pipeline_errors import RECORD_PROBLEMS, translated
from server.errors import (
    BadRequest,
    ConsentRefused,
    NotReady,
    PictureRefused,
    RegistryDown,
    Unavailable,
    UnknownConsent,
)

T = TypeVar("T")


routes = RouteTable()
ONE: Final = "/v1/consents/{consent}"
DOWN: Final = (RegistryDown, NotReady)
WRITES: Final = (*DOWN, ConsentRefused)


@routes(
    "GET",
    "/v1/consents",
    May.ADMINISTER,
    query=ConsentQuery,
    answer=Content(answers.Consents),
    errors=DOWN,
)
async def listing(request: web.Request) -> web.Response:
    """Consent records: every one, or those of one subject or picture."""
    records = await _do(request, lambda registry: registry.all())
    asked = parse_query(ConsentQuery, request.query)
    shown = [
        record
        for record in records
        if asked.subject in ("", record.subject) and asked.image_sha256 in ("", record.image_sha256)
    ]
    return respond({"consents": [describe(r, _registry(request).clock()) for r in shown]})


@routes(
    "GET",
    ONE,
    May.ADMINISTER,
    answer=Content(answers.Consent),
    errors=(*DOWN, UnknownConsent),
)
async def one(request: web.Request) -> web.Response:
    """One consent record."""
    name = request.match_info["consent"]
    record = await _do(request, lambda registry: registry.get(name))
    return respond(describe(record, _registry(request).clock()))


@routes(
    "POST",
    "/v1/consents",
    May.ADMINISTER,
    body=Content(ConsentForm, FORM),
    answer=Content(answers.Consent),
    status=201,
    errors=(*WRITES, PictureRefused, UnknownConsent, Unavailable),
)
async def add(request: web.Request) -> web.Response:
    """Record consent: the record as JSON, the picture, and perhaps evidence."""
    form = await _form(request)
    draft = _draft(form.record, form.picture, _registry(request).clock())
    actor, evidence = _actor(request), form.evidence
    if form.signature or form.subject_key:
        if evidence is not None:
            raise BadRequest("A challenge is spoken or signed: send evidence or a signature.")
        with translated(RECORD_PROBLEMS):
            draft, evidence = _signed(draft, form)
    bounds = request.app[SETTINGS].bounds()

    def write(registry: Registry) -> ConsentRecord:
        picture = form.picture
        shown = Image.fromarray(load_picture(hashed(picture, bounds=Bounds(*bounds))).pixels)
        return registry.add(draft, picture=picture, shown=shown, evidence=evidence, actor=actor)

    with translated(RECORD_PROBLEMS):  # on threads of their own, which decode what strangers send
        record = await request.app[UPLOADS].run(write, _registry(request))
    location = {"Location": link(request, f"/v1/consents/{record.id}")}
    return respond(describe(record, _registry(request).clock()), 201, location)


@routes(
    "POST",
    "/v1/challenges",
    May.ADMINISTER,
    body=Content(NewChallenge),
    answer=Content(answers.Challenge),
    status=201,
    errors=WRITES,
)
async def challenge(request: web.Request) -> web.Response:
    """A code for a subject to say."""
    asked, actor = await read_json(request, NewChallenge), _actor(request)
    issued = await _do(
        request,
        lambda registry: registry.challenges.issue(
            asked.subject, actor=actor, lifetime_s=asked.lifetime_s
        ),
    )
    return respond(answers.Challenge(issued.code, issued.subject, issued.expires_at), 201)


@routes(
    "POST",
    ONE + "/checks",
    May.ADMINISTER,
    body=Content(CheckOutcomes),
    answer=Content(answers.Consent),
    errors=(*WRITES, UnknownConsent),
)
async def verify(request: web.Request) -> web.Response:
    """Enter how checks of the evidence ended, and who made them."""
    given, actor, name = (
        await read_json(request, CheckOutcomes),
        _actor(request),
        request.match_info["consent"],
    )
    outcomes = {check: getattr(given, check) for check in CHECKS if getattr(given, check)}
    record = await _do(
        request, lambda registry: registry.verify(name, outcomes, given.by, actor=actor)
    )
    return respond(describe(record, _registry(request).clock()))


@routes(
    "DELETE",
    ONE,
    May.ADMINISTER,
    query=RevocationQuery,
    answer=Content(answers.Consent),
    errors=(*WRITES, UnknownConsent),
)
async def revoke(request: web.Request) -> web.Response:
    """Revoke consent; sessions that run on it end within a second."""
    name, actor = request.match_info["consent"], _actor(request)
    reason = parse_query(RevocationQuery, request.query).reason[:500]
    record = await _do(request, lambda registry: registry.revoke(name, actor=actor, reason=reason))
    return respond(describe(record, _registry(request).clock()))


@routes(
    "GET",
    "/v1/audit",
    May.ADMINISTER,
    query=AuditQuery,
    answer=Content(answers.AuditEntries),
    errors=DOWN,
)
async def audit(request: web.Request) -> web.StreamResponse:
    """The newest audit entries, oldest first; every entry with ``format=jsonl``."""
    asked = parse_query(AuditQuery, request.query)
    wanted = Filter(**{item.name: getattr(asked, item.name) for item in fields(Filter)})
    if asked.format == "jsonl":
        return await _export(request, wanted)
    entries = await _do(request, lambda registry: list(registry.log.entries(wanted, asked.limit)))
    return respond({"entries": [entry.describe() for entry in entries]})


async def _export(request: web.Request, wanted: Filter) -> web.StreamResponse:
    entries = _registry(request).log.entries(wanted)
    page = await _do(request, lambda _: _lines(entries))  # what fails, fails before it begins
    response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
    await response.prepare(request)
    while page:
        await response.write(page)
        page = await asyncio.to_thread(_lines, entries)
    await response.write_eof()
    return response


def _lines(entries: Iterator[Any]) -> bytes:
    return "".join(entry.line() + "\n" for entry in islice(entries, MAX_PAGE)).encode()


# -- what is asked -------------------------------------------------------------------------------


def _registry(request: web.Request) -> Registry:
    monitor = request.app[MANAGER].monitor
    if monitor is None:
        raise NotReady("This server has no consent registry.", retry_after_s=30)
    return monitor.registry


async def _do(request: web.Request, work: Callable[[Registry], T]) -> T:
    registry = _registry(request)
    with translated(RECORD_PROBLEMS):
        return await asyncio.to_thread(work, registry)


def _actor(request: web.Request) -> str:
    return request[CALLER].actor


def _draft(raw: bytes, picture: bytes, now: float) -> ConsentRecord:
    given = parse(NewRecord, parse_object(raw))
    with translated(RECORD_PROBLEMS):
        record = new_record(
            subject=given.subject,
            kind=given.kind,
            statement=given.statement,
            image_sha256=sha256_of(picture),
            scopes=given.scopes,
            verified_by=given.verified_by or "operator",
            now=now,
            adult=given.adult,
            birth_year=given.birth_year,
            territory=given.territory,
            challenge=given.challenge,
        )
        return replace(record, expires_at=given.expires_at, captured_at=given.captured_at)


def _signed(draft: ConsentRecord, form: ConsentForm) -> tuple[ConsentRecord, bytes]:
    """The draft with its words checked, and the evidence that a signature is."""
    try:
        signature = bytes.fromhex(form.signature.strip())
    except ValueError:
        raise BadRequest("The signature is 64 bytes in hex.") from None
    return signed(draft, form.subject_key, signature)


async def _form(request: web.Request) -> ConsentForm:
    limits = {
        "record": request.app[SETTINGS].json_bytes,
        "picture": request.app[SETTINGS].picture_bytes,
        "evidence": MAX_BLOB,
        "signature": 200,
        "subject_key": 2000,
    }
    return await read_form(request, ConsentForm, limits)
