"""``continuum avatar``: enrol a consenting person's picture under a name, list, remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.avatars import catalogue
from pipeline.consent import ConsentGate, Scope
from pipeline.consent.options import read_picture
from pipeline.errors import LandmarksMissing
from pipeline.media.image_file import PictureFile, hashed
from server.cli.shell import Shell, group, registry_command

app = group("Avatars: the people that servers of this registry offer.")


@registry_command(app)
def add(
    shell: Shell,
    name: Annotated[str, typer.Argument(help="The avatar's name: a-z, 0-9 and -.")],
    image: Annotated[Path, typer.Option(help="The very picture file of the consent record.")],
    consent: Annotated[str, typer.Option(metavar="ID", help="Id of the consent record.")],
    landmarks: Annotated[
        Path | None,
        typer.Option(help="JSON of face points. Default: beside the picture, else detected."),
    ] = None,
    title: Annotated[str, typer.Option(help="The name that people read.")] = "",
    description: Annotated[str, typer.Option(help="A line about the person.")] = "",
) -> None:
    """Enrol a picture as an avatar. Servers offer it from then on."""
    picture = read_picture(image)
    file = hashed(picture, image.name)
    _ask_gate(shell, name, file, consent)
    points = _landmarks(image, landmarks, file)
    _check(points, file)
    avatar = shell.registry.enrolments.add(
        name,
        picture=picture,
        landmarks=points,
        consent_id=consent,
        title=title,
        description=description,
        taken=catalogue(),
        most=shell.avatars_max,
        actor=shell.actor,
    )
    row = {"name": avatar.name, "title": avatar.title, "consent_id": avatar.consent_id}
    shell.output.one(row, f"{avatar.name} is enrolled; servers of this registry offer it")


@registry_command(app, "list")
def show_all(shell: Shell) -> None:
    """List the bundled and enrolled avatars."""
    rows: list[dict[str, Any]] = [
        {"name": name, "origin": "bundled", "consent_id": found.consent().id}
        for name, found in catalogue().items()
    ]
    for avatar in shell.registry.enrolments.all():
        row = {"name": avatar.name, "origin": "enrolled", "consent_id": avatar.consent_id}
        rows.append(row | {"title": avatar.title, "enrolled_at": avatar.enrolled_at})
    columns = ("name", "origin", "consent_id", "title", "enrolled_at")
    shell.output.rows(rows, "no avatars", columns)


@registry_command(app)
def remove(
    shell: Shell, name: Annotated[str, typer.Argument(help="Name of an enrolled avatar.")]
) -> None:
    """Remove an avatar and erase its picture."""
    shell.registry.enrolments.remove(name, actor=shell.actor)
    shell.output.one({"name": name}, f"{name} is removed, its picture erased")


def _ask_gate(shell: Shell, name: str, file: PictureFile, consent: str) -> None:
    scopes = shell.registry.get(consent).scopes
    ConsentGate(shell.registry).grant(
        avatar=name,
        image_sha256=file.sha256,
        scope=Scope.LIVE if Scope.LIVE in scopes else min(scopes),
        consent_id=consent,
        actor=shell.actor,
    )


def _landmarks(image: Path, named: Path | None, file: PictureFile) -> bytes:
    """From the file named, the sidecar, or the picture itself."""
    from pipeline.models.mini.enrolment.landmarks_file import sidecar_of  # imports numba

    beside = sidecar_of(image)
    path = named or (beside if beside.is_file() else None)
    if path is not None:
        try:
            return bytes(path.read_bytes())
        except OSError as error:
            raise LandmarksMissing(f"cannot read landmarks {path}: {error.strerror}") from error
    from pipeline.enrol import enrolment  # brings the detector along

    return json.dumps(enrolment(file).sidecar()).encode()


def _check(points: bytes, file: PictureFile) -> None:
    """Raises ``LandmarksInvalid`` where they do not fit the picture."""
    from pipeline.models.mini.enrolment.landmarks_file import read_landmarks  # imports numba

    read_landmarks(points, file)
