"""The avatar folder: reference picture, mask, exact fit, card and consent record."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.avatars import BundledAvatar, write_consent
from pipeline.models.mini.rig.fit import Fit
from training.portraits.characters import Character

MADE = 1795305600.0  # 2026-11-22, so that the same cast gives the same files
STATEMENT = (
    "This person does not exist. The picture was rendered by the project itself from a parametric"
    " body; no real person's likeness was used."
)


def write(
    folder: Path,
    character: Character,
    picture: NDArray[np.uint8],
    alpha: NDArray[np.uint8],
    fit: Fit,
) -> None:
    """Write ``folder`` for a rendered picture (H, W, 3) and the person's alpha (H, W)."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(
        folder / "reference.jpg", quality=95, subsampling=0, optimize=True
    )
    Image.fromarray(alpha, "L").save(folder / "mask.png", optimize=True)
    (folder / "fit.json").write_text(fit.to_json() + "\n", "utf-8")
    avatar = BundledAvatar(character.name, folder)
    (folder / "card.toml").write_text(card(character, avatar.image_sha256()), "utf-8")
    write_consent(avatar, f"{character.title}, a synthetic person", STATEMENT, MADE)


def card(character: Character, digest: str) -> str:
    """The card as TOML."""
    lines = {
        "name": character.name,
        "title": character.title,
        "age": character.age,
        "presents": character.presents,
        "framing": character.framing,
        "description": character.description,
        "prompt": character.prompt,
        "synthetic": True,
        "licence": "Apache-2.0",
        "made_by": "training.portraits of this project, from CC0 body data",
        "reference_sha256": digest,
    }
    return "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in lines.items()
    )
