"""``continuum avatar``: enrol a consenting person's picture under a name, list, remove."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.avatar_catalog import AvatarCatalog
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
    file = hashed(read_picture(image), image.name)
    catalog = _catalog(shell)
    scopes = shell.registry.get(consent).scopes
    scope = Scope.LIVE if Scope.LIVE in scopes else min(scopes)
    avatar = catalog.add(
        catalog.grant_picture(name, file, consent, scope, shell.actor),
        file,
        _landmarks(image, landmarks, file),
        title=title,
        description=description,
        most=shell.avatars_max,
        actor=shell.actor,
    )
    row = {"name": avatar.name, "title": avatar.title, "consent_id": avatar.consent_id}
    shell.output.one(row, f"{avatar.name} is enrolled; servers of this registry offer it")


@registry_command(app, "list")
def show_all(shell: Shell) -> None:
    """List the bundled and enrolled avatars."""
    catalog = _catalog(shell)
    rows: list[dict[str, Any]] = [
        {"name": name, "origin": "bundled", "consent_id": found.consent().id}
        for name, found in catalog.bundled().items()
    ]
    for avatar in catalog.enrolled().values():
        row = {"name": avatar.name, "origin": "enrolled", "consent_id": avatar.consent_id}
        rows.append(row | {"title": avatar.title, "enrolled_at": avatar.enrolled_at})
    columns = ("name", "origin", "consent_id", "title", "enrolled_at")
    shell.output.rows(rows, "no avatars", columns)


@registry_command(app)
def remove(
    shell: Shell, name: Annotated[str, typer.Argument(help="Name of an enrolled avatar.")]
) -> None:
    """Remove an avatar and erase its picture."""
    _catalog(shell).enrolments.remove(name, actor=shell.actor)
    shell.output.one({"name": name}, f"{name} is removed, its picture erased")


def _catalog(shell: Shell) -> AvatarCatalog:
    return AvatarCatalog(ConsentGate(shell.registry))


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
    from pipeline.models.mini.enrolment.enrolment import enrolment  # brings the detector along

    return json.dumps(enrolment(file).sidecar()).encode()
