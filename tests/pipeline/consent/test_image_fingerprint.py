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


def stretched(image: Image.Image, wide: float, high: float) -> Image.Image:
    return image.resize((round(image.width * wide), round(image.height * high)))


def inverted(image: Image.Image, left: float, top: float) -> Image.Image:
    """A part of the picture, up to these shares of it, as its negative."""
    corner = (0, 0, round(left * image.width), round(top * image.height))
    image = image.copy()
    image.paste(ImageOps.invert(image.crop(corner)), corner)
    return image


def turned(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, Image.Resampling.BICUBIC)


CHANGES: dict[str, Change] = {
    "turned 15 degrees": lambda i: turned(i, 15),
    "turned 25 degrees": lambda i: turned(i, 25),
    "turned back 25 degrees, whole": lambda i: i.rotate(-25, Image.Resampling.BICUBIC, True),
    "turned 45 degrees": lambda i: turned(i, 45),
    "lying": lambda i: i.rotate(90, expand=True),
    "upside down": lambda i: i.rotate(180),
    "left half inverted": lambda i: inverted(i, 0.5, 1),
    "upper half inverted": lambda i: inverted(i, 1, 0.5),
    "inverted": ImageOps.invert,
    "stretched 1.6 times": lambda i: stretched(i, 1.6, 1),
    "tall by 1.6": lambda i: stretched(i, 1, 1.6),
    "stretched and turned": lambda i: turned(stretched(i, 1.4, 1), 15),
    "half inverted and turned": lambda i: turned(inverted(i, 0.5, 1), 10),
    "mirrored and turned": lambda i: turned(ImageOps.mirror(i), 20),
    "colours swapped": lambda i: Image.merge("RGB", i.split()[::-1]),
    "cropped to a third": lambda i: part(i, 0.3, 0.05, 0.65, 0.4),
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


def test_people_are_not_taken_for_one_another() -> None:
    everybody = {n: fingerprint(a.reference.read_bytes()) for n, a in catalogue().items()}
    pairs = [(a, b) for a in everybody for b in everybody if a != b]
    assert max(likeness(everybody[a], everybody[b]) for a, b in pairs) < 0.6


@pytest.mark.parametrize("change", ["turned 25 degrees", "inverted", "stretched 1.6 times"])
def test_a_copy_of_one_is_not_taken_for_another(prints: dict[str, bytes], change: str) -> None:
    for name, avatar in catalogue().items():
        copy = fingerprint(CHANGES[change](Image.open(avatar.reference).convert("RGB")))
        assert max(likeness(copy, prints[n]) for n in prints if n != name) < 0.6


def test_records_of_the_version_before_are_still_compared() -> None:
    now = Fingerprint.from_bytes(fingerprint(photo(1)))
    before = b"\x01" + now.to_bytes()[3 : 3 + 36 * len(now.places)]  # corners alone
    assert Fingerprint.from_bytes(before).blobs.plain == 0
    assert same_picture(fingerprint(part(photo(1), 0.1, 0.1, 1, 1)), before)
    assert not same_picture(fingerprint(photo(2)), before)


def test_a_fingerprint_is_small_and_holds_no_picture() -> None:
    data = fingerprint(photo(4))
    assert len(data) < 40_000
    assert data == fingerprint(photo(4)), "the same picture, the same fingerprint"


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
