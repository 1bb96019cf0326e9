"""``continuum avatar``: enrol a consenting person's picture under a name, list, remove."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.avatars import catalogue
from pipeline.consent import ConsentGate, Scope
from pipeline.consent.options import read_picture
from pipeline.errors import LandmarksMissing
from pipeline.media.image_file import PictureFile, hashed
from pipeline.models.mini.enrolment.landmarks_file import read_landmarks, sidecar_of
from server.cli.shell import Shell


def add_commands(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    """Every sub-command of ``avatar``."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    add = commands.add_parser("add", help="enrol a picture; servers offer it", parents=[common])
    add.add_argument("name", help="how it is called: a-z, 0-9 and -")
    add.add_argument("--image", type=Path, required=True, help="the very picture of the record")
    add.add_argument("--consent", required=True, metavar="ID", help="the consent record")
    add.add_argument(
        "--landmarks", type=Path, help="JSON; default: beside the picture, else found in it"
    )
    add.add_argument("--title", default="", help="what people read")
    add.add_argument("--description", default="", help="a line more")
    add.set_defaults(run=_add)
    shown = commands.add_parser("list", help="bundled and enrolled avatars", parents=[common])
    shown.set_defaults(run=_list)
    remove = commands.add_parser("remove", help="forget one, erase its picture", parents=[common])
    remove.add_argument("name")
    remove.set_defaults(run=_remove)


def _add(shell: Shell, arguments: argparse.Namespace) -> None:
    registry, picture = shell.registry, read_picture(arguments.image)
    file = hashed(picture, arguments.image.name)
    scopes = registry.get(arguments.consent).scopes
    ConsentGate(registry).grant(
        avatar=arguments.name,
        image_sha256=file.sha256,
        scope=Scope.LIVE if Scope.LIVE in scopes else min(scopes),
        consent_id=arguments.consent,
        actor=shell.actor,
    )
    landmarks = _landmarks(arguments, file)
    read_landmarks(landmarks, file)
    avatar = registry.enrolments.add(
        arguments.name,
        picture=picture,
        landmarks=landmarks,
        consent_id=arguments.consent,
        title=arguments.title,
        description=arguments.description,
        taken=catalogue(),
        most=shell.avatars_max,
        actor=shell.actor,
    )
    row = {"name": avatar.name, "title": avatar.title, "consent_id": avatar.consent_id}
    shell.output.one(row, f"{avatar.name} is enrolled; servers of this registry offer it")


def _landmarks(arguments: argparse.Namespace, file: PictureFile) -> bytes:
    """From the file named, the sidecar, or the picture itself."""
    beside = sidecar_of(arguments.image)
    path = arguments.landmarks or (beside if beside.is_file() else None)
    if path is not None:
        try:
            return bytes(path.read_bytes())
        except OSError as error:
            raise LandmarksMissing(f"cannot read landmarks {path}: {error.strerror}") from error
    from pipeline.enrol import enrolment  # brings the detector along

    return json.dumps(enrolment(file).sidecar()).encode()


def _list(shell: Shell, _: argparse.Namespace) -> None:
    rows: list[dict[str, Any]] = [
        {"name": name, "origin": "bundled", "consent_id": found.consent().id}
        for name, found in catalogue().items()
    ]
    for avatar in shell.registry.enrolments.all():
        row = {"name": avatar.name, "origin": "enrolled", "consent_id": avatar.consent_id}
        rows.append(row | {"title": avatar.title, "enrolled_at": avatar.enrolled_at})
    columns = ("name", "origin", "consent_id", "title", "enrolled_at")
    shell.output.rows(rows, "no avatars", columns)


def _remove(shell: Shell, arguments: argparse.Namespace) -> None:
    shell.registry.enrolments.remove(arguments.name, actor=shell.actor)
    shell.output.one({"name": arguments.name}, f"{arguments.name} is removed, its picture erased")
