"""Pictures are known again after all that is done to pictures, and not taken for one another."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from PIL import Image, ImageEnhance, ImageOps

from pipeline.avatars import catalogue
from pipeline.consent.image_fingerprint import (
    PLAIN,
    Fingerprint,
    fingerprint,
    likeness,
    same_picture,
)
from tests.pipeline.consent.conftest import photo, png

Change = Callable[[Image.Image], Image.Image]


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue()))


def part(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    w, h = image.size
    return image.crop((int(left * w), int(top * h), int(right * w), int(bottom * h)))


def askew(image: Image.Image) -> Image.Image:
    """As photographed from a screen."""
    slant = (1, 0.03, 0, 0.02, 1, 0, 0.00004, 0.00003)
    return image.transform(image.size, Image.Transform.PERSPECTIVE, slant, Image.Resampling.BICUBIC)


CHANGES: dict[str, Change] = {
    "saved anew": lambda i: jpeg(i, 40),
    "made small": lambda i: i.resize((i.width // 3, i.height // 3)),
    "mirrored": ImageOps.mirror,
    "squashed": lambda i: i.resize((i.width, int(i.height * 0.85))),
    "grey": ImageOps.grayscale,
    "brighter": lambda i: ImageEnhance.Brightness(i).enhance(1.25),
    "framed": lambda i: ImageOps.expand(i, i.width // 12, (255, 255, 255)),
    "cropped to 80 %": lambda i: part(i, 0.15, 0.05, 0.95, 0.85),
    "cropped to 60 %": lambda i: part(i, 0.2, 0.1, 0.8, 0.7),
    "turned and cropped": lambda i: part(i.rotate(6, Image.Resampling.BICUBIC), 0.1, 0.1, 0.9, 0.9),
    "turned the other way": lambda i: i.rotate(-4, Image.Resampling.BICUBIC),
    "askew": askew,
    "cropped, mirrored, saved anew": lambda i: jpeg(ImageOps.mirror(part(i, 0, 0, 0.7, 0.75)), 60),
}


@pytest.fixture(scope="module")
def people() -> dict[str, Image.Image]:
    return {n: Image.open(a.reference).convert("RGB") for n, a in list(catalogue().items())[:3]}


@pytest.fixture(scope="module")
def prints(people: dict[str, Image.Image]) -> dict[str, bytes]:
    return {name: fingerprint(image) for name, image in people.items()}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_known_again(
    people: dict[str, Image.Image], prints: dict[str, bytes], change: str
) -> None:
    name = list(people)[len(change) % len(people)]
    copy = fingerprint(CHANGES[change](people[name]))
    assert likeness(copy, prints[name]) > 0.7
    assert not any(same_picture(copy, prints[other]) for other in prints if other != name)


def test_people_are_not_taken_for_one_another(prints: dict[str, bytes]) -> None:
    pairs = [(a, b) for a in prints for b in prints if a < b]
    assert max(likeness(prints[a], prints[b]) for a, b in pairs) < 0.7


def test_likeness_does_not_depend_on_the_order(prints: dict[str, bytes]) -> None:
    one, other = fingerprint(photo(1)), fingerprint(part(photo(1), 0.1, 0.1, 1, 1))
    assert same_picture(one, other) and same_picture(other, one)


def test_a_file_and_its_pixels_have_one_fingerprint() -> None:
    assert fingerprint(png(photo(3))) == fingerprint(photo(3))


def test_pictures_that_show_nothing_are_like_no_other() -> None:
    flat = fingerprint(Image.new("RGB", (200, 300), (90, 90, 90)))
    assert flat == PLAIN and likeness(flat, flat) == 0.0


def test_fingerprints_survive_being_stored() -> None:
    data = fingerprint(photo(4))
    assert Fingerprint.from_bytes(data).to_bytes() == data
    with pytest.raises(ValueError, match="version"):
        Fingerprint.from_bytes(b"\x09" + data[1:])
