"""Converts a picture's colours to sRGB, by the ICC profile in its file.

Phones write Display P3, cameras Adobe RGB, printers CMYK: the same numbers mean other colours. A
picture without a usable profile is taken as sRGB, as browsers do.
"""

from __future__ import annotations

from io import BytesIO
from typing import Final, cast

from PIL import Image, ImageCms

_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
_COUNTS: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour space: Pillow's mode
_FLAGS: Final = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(image: Image.Image) -> Image.Image:
    """The picture in RGB, with its alpha as RGBA if it has any."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colours = _managed(image)
    if alpha is not None:
        colours.putalpha(alpha)
    return colours


def _managed(image: Image.Image) -> Image.Image:
    profile = _profile(image)
    if profile is None:
        return image.convert("RGB")
    space = profile.profile.xcolor_space.strip()
    source = image if image.mode == _COUNTS.get(space) else _in_space(image, space)
    if source is None:
        return image.convert("RGB")
    try:
        turned = ImageCms.profileToProfile(
            source, profile, _SRGB, ImageCms.Intent.RELATIVE_COLORIMETRIC, "RGB", flags=_FLAGS
        )
    except ImageCms.PyCMSError:
        return image.convert("RGB")
    return cast("Image.Image", turned)


def _profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """What the file carries, unless it says nothing new."""
    data = image.info.get("icc_profile")
    if not data:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(BytesIO(data))
        known = "srgb" in ImageCms.getProfileDescription(profile).lower()
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if known else profile


def _in_space(image: Image.Image, space: str) -> Image.Image | None:
    """Palettes and alpha unfolded; None if the profile is of another kind than the pixels."""
    grey = image.mode in ("1", "L", "LA", "La")
    if space == "GRAY":
        return image.convert("L") if grey else None
    return image.convert("RGB") if space == "RGB" and image.mode != "CMYK" else None
