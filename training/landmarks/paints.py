"""How a stranger looks: paint, light, hair, beard, glasses, and what is behind them, at random."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.models.mini.enrolment.surface import Surface
from pipeline.models.mini.rig.body import MATERIALS
from pipeline.models.mini.rig.person import Person
from pipeline.models.mini.rig.skeleton import BONES

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
_HAIRS: Final = ((22, 17, 14), (45, 30, 20), (80, 55, 32), (125, 90, 50), (175, 140, 90),
                 (200, 175, 130), (140, 60, 30), (150, 148, 145), (215, 213, 210))  # fmt: skip


class Look:
    """Everything of one picture that the body does not say."""

    def __init__(
        self,
        rng: np.random.Generator,
        person: Person,
        surface: Surface,
        points: Mapping[str, F32],
    ) -> None:
        self._rng, self._person, self._points = rng, person, points
        self._unit = float(np.linalg.norm(points["eye_outer_left"] - points["eye_outer_right"]))
        self._unit = max(self._unit, 2.0)
        hair = np.array(_HAIRS[rng.integers(len(_HAIRS))]) * rng.uniform(0.8, 1.2)
        self.hair = np.clip(hair + rng.normal(0, 6, 3), 5, 240)
        self.skin = np.array([240, 192, 162]) * rng.uniform(0.28, 1.05) ** np.array([0.7, 1, 1.15])
        self.skin = np.clip(self.skin * rng.normal(1, 0.04, 3), 15, 250)
        self.depth = rng.uniform(0.6, 2.2)  # how dark creases are
        self.colours = self._paint(surface)
        self._suns = _suns(rng)

    # -- paint and light -----------------------------------------------------------------------

    def _paint(self, surface: Surface) -> F32:
        rng, rest = self._rng, self._person.rest[surface.vertex]
        table = self._materials()
        out = np.stack([table[name] for name in MATERIALS])[surface.material]
        noise = sum(
            np.sin(rest @ rng.normal(0, f, 3) + rng.uniform(0, 6)) for f in (12, 30, 70, 160)
        )
        cloth = np.isin(surface.material, [MATERIALS.index(n) for n in _CLOTH])
        stripes = np.sin(rest @ rng.normal(0, rng.uniform(20, 160), 3)) * rng.uniform(0, 0.5)
        out = out * (1 + np.where(cloth, 0.12 * noise + stripes, 0.02 * noise))[:, None]
        self._blush(out, rest, surface)
        if rng.random() < 0.25:
            self._beard(out, rest, surface)
        return np.clip(out, 0, 255).astype(np.float32)

    def _materials(self) -> dict[str, NDArray[np.float64]]:
        rng, skin = self._rng, self.skin
        top, bottom = rng.uniform(8, 245, 3), rng.uniform(20, 160, 3)
        if rng.random() < 0.4:
            top = np.full(3, rng.uniform(8, 245)) + rng.normal(0, 8, 3)
        brow = self.hair * 0.7 if rng.random() < 0.8 else np.array([40.0, 30, 24])
        lips = skin * (rng.uniform(0.75, 1.0), rng.uniform(0.45, 0.85), rng.uniform(0.5, 0.85))
        mouth = rng.uniform(0.4, 1.0)
        return {
            "skin": skin, "lips": lips, "nail": skin * 1.05,
            "brow": skin + (brow - skin) * rng.uniform(0.25, 0.95),
            "gum": np.array([130.0, 55, 55]) * mouth,
            "teeth": np.array([238.0, 230, 215]) * rng.uniform(0.75, 1.0),
            "tongue": np.array([170.0, 80, 80]) * mouth,
            "eye": np.array([235.0, 230, 225]) * rng.uniform(0.7, 1.0),
            "iris": rng.uniform(30, 150, 3) * rng.uniform(0.4, 1.0),
            "pupil": np.array([12.0, 12, 14]), "lash": np.array([25.0, 20, 18]),
            "hair": self.hair, "top": top, "sleeve": top * rng.uniform(0.9, 1.1), "collar": top,
            "bottom": bottom, "shoes": bottom * 0.5, "skirt": bottom,
        }  # fmt: skip

    def _at(self, name: str) -> F32:
        return self._person.rest[self._person.body.landmarks[name]]

    def _blush(self, out: NDArray[np.float64], rest: F32, surface: Surface) -> None:
        """Warm cheeks and nose, shadows in the eye sockets."""
        rng = self._rng
        skin = surface.material == MATERIALS.index("skin")
        warm, dark = rng.uniform(0, 0.25), rng.uniform(0, 0.45)
        spots = [(n, 0.02, (1.05, 1 - warm, 1 - warm)) for n in ("cheek_left", "cheek_right")]
        spots.append(("nose_tip", 0.012, (1.05, 1 - warm, 1 - warm)))
        for side in ("left", "right"):
            for lid in ("lid_upper", "lid_lower", "eye_inner"):
                spots.append((f"{lid}_{side}", 0.009, (1 - dark,) * 3))
        for name, reach, factor in spots:
            near = np.exp(-np.square((rest - self._at(name)) / reach).sum(1)) * skin
            out *= 1 + near[:, None] * (np.array(factor) - 1)

    def _beard(self, out: NDArray[np.float64], rest: F32, surface: Surface) -> None:
        """From stubble to full, with or without a moustache."""
        rng = self._rng
        ear, nose, chin = self._at("ear_lobe_left"), self._at("nose_base"), self._at("chin")
        skin = surface.material == MATERIALS.index("skin")
        top = nose[1] if rng.random() < 0.7 else self._at("lip_lower_outer")[1]
        line = top + (ear[1] - top) * np.clip(np.abs(rest[:, 0]) / abs(ear[0]), 0, 1)
        inside = (rest[:, 1] < line) & (rest[:, 1] > chin[1] - 0.03) & (rest[:, 2] > ear[2])
        lips = np.abs(rest[:, 0]) < 0.6 * abs(self._at("mouth_corner_left")[0])
        middle = np.abs(rest[:, 1] - self._at("lip_lower_inner")[1]) < 0.008
        share = rng.uniform(0.15, 0.9) * (inside & skin & ~(lips & middle))
        share = share * (0.8 + 0.2 * np.sin(rest @ rng.normal(0, 400, 3)))
        out += share[:, None] * (self.hair * 0.8 - out)

    def light(self, normals: F32) -> F32:
        """Brightness (R,) of unit normals: a sky, one or two suns, some shine."""
        sky, suns = self._suns
        out = np.full(len(normals), sky, np.float32)
        for direction, strength, soft, shine in suns:
            lean = normals @ direction
            out += strength * np.clip((lean + soft) / (1 + soft), 0, None)
            half = direction + np.array([0, 0, 1], np.float32)
            glance = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1)
            out += shine * glance**25
        return np.clip(out, 0.08, 1.9).astype(np.float32)

    # -- lines and hair ------------------------------------------------------------------------

    def behind(self, out: U8, projected: F32) -> U8:
        """Back hair on the background."""
        if self._rng.random() < 0.7:
            self._tuft(out, projected, front=False)
        return out

    def before(self, out: U8, projected: F32) -> U8:
        """What is drawn over the body: lashes, nostrils, folds, hair, glasses, a hat."""
        rng = self._rng
        over = out.copy()
        self._lines(over)
        out = cv2.addWeighted(over, share := rng.uniform(0.3, 1.0), out, 1 - share, 0)
        if rng.random() < 0.7:
            self._tuft(out, projected, front=True)
        kind = rng.random()
        if kind < 0.5:
            self._cap(out, hat=kind < 0.18)
        if rng.random() < 0.25:
            self._glasses(out)
        return np.asarray(out, np.uint8)

    def _cap(self, out: U8, hat: bool) -> None:
        """Hair in one mass with a fringe, or a hat with a brim, down to anywhere above the eyes."""
        rng, points = self._rng, self._points
        brows = 0.5 * (points["brow_mid_left"] + points["brow_mid_right"])
        crown, chin = points["crown"], points["chin"]
        up = (crown - chin) / max(float(np.linalg.norm(crown - chin)), 1e-3)
        across = np.array([-up[1], up[0]])
        wide = max(
            0.75 * self._unit, 0.5 * abs(points["ear_top_left"] - points["ear_top_right"]).max()
        )
        wide *= rng.uniform(0.95, 1.4)
        low = brows + rng.uniform(-0.02, 0.55) * (points["hairline"] - brows)
        tall = float((crown - low) @ up) * rng.uniform(1.0, 1.5)
        tint = rng.uniform(0, 255, 3) if hat else self.hair
        turn = np.linspace(0, np.pi, 24)
        dome = (
            low + np.outer(wide * np.cos(turn), across) + np.outer(tall * np.sin(turn) ** 0.7, up)
        )
        ends = np.linspace(-1, 1, 12)
        wave = (
            rng.normal(0, 0.0 if hat else 0.08, 12) * self._unit
            + rng.normal(0, 0.3) * ends * wide * 0.5
        )
        rim = low + np.outer(wide * ends, across) + np.outer(wave, up)
        shape = np.rint(np.concatenate([dome, rim]) * 16).astype(np.int32)
        cv2.fillPoly(out, [shape], tuple(np.clip(tint, 0, 255)), cv2.LINE_AA, 4)
        for _ in range(6):  # strands, or folds of the hat
            share = rng.uniform(0.05, 0.95, 20)
            a = dome[np.rint(share * 23).astype(int)]
            b = rim[np.rint((1 - np.clip(share + rng.normal(0, 0.1, 20), 0, 1)) * 11).astype(int)]
            lines = np.rint(np.stack([a, 0.5 * (a + b) + rng.normal(0, 3, 2), b], 1) * 16)
            shade = tuple(np.clip(tint * rng.uniform(0.6, 1.4), 0, 255))
            width = max(1, round(self._unit * rng.uniform(0.005, 0.04)))
            cv2.polylines(out, list(lines.astype(np.int32)), False, shade, width, cv2.LINE_AA, 4)
        if hat and rng.random() < 0.7:
            brim = np.stack([rim[0] - wide * rng.uniform(0, 0.9) * across,
                             0.5 * (rim[0] + rim[-1]) - rng.uniform(-0.2, 0.2) * self._unit * up,
                             rim[-1] + wide * rng.uniform(0, 0.9) * across])  # fmt: skip
            width = max(2, round(self._unit * rng.uniform(0.05, 0.4)))
            shade = tuple(np.clip(tint * rng.uniform(0.4, 1.2), 0, 255))
            cv2.polylines(
                out, [np.rint(brim * 16).astype(np.int32)], False, shade, width, cv2.LINE_AA, 4
            )

    def _curve(self, out: U8, names: list[str], colour: F32, width: float) -> None:
        at = np.array([self._points[name] for name in names])
        fine = np.linspace(0, len(at) - 1, 4 * len(at))
        line = np.stack([np.interp(fine, np.arange(len(at)), at[:, i]) for i in (0, 1)], 1)
        tint = tuple(float(c) for c in colour)
        size = max(1, round(width * self._unit))
        cv2.polylines(out, [np.rint(line * 16).astype(np.int32)], False, tint, size, cv2.LINE_AA, 4)

    def _lines(self, out: U8) -> None:
        rng, dark = self._rng, self.skin * 0.25
        upper, lower = rng.uniform(0.008, 0.035), rng.uniform(0.0, 0.016)
        for side in ("left", "right"):
            rim = [f"eye_inner_{side}", f"lid_upper_inner_{side}", f"lid_upper_{side}",
                   f"lid_upper_outer_{side}", f"eye_outer_{side}"]  # fmt: skip
            self._curve(out, rim, dark * 0.5, upper)
            if lower > 0.008:
                rim = [name.replace("upper", "lower") for name in rim]
                self._curve(out, rim, self.skin * 0.55, lower)
            ala, base = self._points[f"nose_ala_{side}"], self._points["nose_base"]
            hole = 0.5 * ala + 0.5 * base + (0, 0.01 * self._unit)
            axes = (round(0.045 * self._unit), max(1, round(0.022 * self._unit)))
            cv2.ellipse(out, _whole(hole), axes, 0, 0, 360, tuple(dark), -1, cv2.LINE_AA)
            if rng.random() < 0.35:
                fold = self._points[f"mouth_corner_{side}"] + 0.3 * (ala - base)
                both = np.rint(np.array([ala, fold]) * 16).astype(np.int32)
                tint, thick = tuple(self.skin * 0.7), max(1, round(0.012 * self._unit))
                cv2.polylines(out, [both], False, tint, thick, cv2.LINE_AA, 4)
        lips = ["mouth_corner_left", "lip_upper_inner", "mouth_corner_right"]
        if np.linalg.norm(self._points["lip_upper_inner"] - self._points["lip_lower_inner"]) < 3:
            self._curve(out, lips, dark, rng.uniform(0.006, 0.025))

    def _tuft(self, out: U8, projected: F32, front: bool) -> None:
        """Strands from the scalp that fall or stand, over one random range of lengths."""
        rng, unit = self._rng, self._unit
        scalp = self._scalp(front)
        if not len(scalp):
            return
        roots = projected[rng.choice(scalp, min(len(scalp), int(rng.integers(120, 480)))), :2]
        crown, chin = self._points["crown"], self._points["chin"]
        down = (chin - crown) / max(float(np.linalg.norm(chin - crown)), 1e-3)
        middle = 0.6 * crown + 0.4 * chin
        length = unit * (rng.uniform(0.1, 0.9) if front else rng.uniform(0.2, 3.0))
        lift, fall, wild = rng.uniform(0, 0.8), rng.uniform(0.3, 2.4), rng.uniform(0.02, 0.3)
        bend = rng.normal(0, 0.6)
        out_way = roots - middle
        out_way /= np.maximum(np.linalg.norm(out_way, axis=1, keepdims=True), 1.0)
        way, at, line = lift * out_way + rng.normal(0, wild, roots.shape), roots, [roots]
        for _ in range(5):
            way = way + fall * 0.35 * down + 0.1 * bend * np.stack([-way[:, 1], way[:, 0]], 1)
            step = np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 0.3)
            at = at + way / step * length / 5
            line.append(at)
        strands = np.rint(np.stack(line, 1) * 16).astype(np.int32)
        for some in np.array_split(strands, _SHADES):
            tint = tuple(np.clip(self.hair * rng.uniform(0.55, 1.45), 0, 255))
            thick = max(1, round(unit * rng.uniform(0.01, 0.06)))
            cv2.polylines(out, list(some), False, tint, thick, cv2.LINE_AA, 4)

    def _scalp(self, front: bool) -> NDArray[np.int64]:
        """The head's vertices above and behind the hairline."""
        rest, body = self._person.rest, self._person.body
        head = body.bone[:, 0] == BONES.index("head")
        line, ear = self._at("hairline"), self._at("ear_top_left")
        share = np.clip((rest[:, 2] - ear[2]) / max(line[2] - ear[2], 1e-3), 0, 1)
        above = rest[:, 1] > ear[1] + share * (line[1] - ear[1])
        if front:
            above &= rest[:, 2] > ear[2] - 0.02
        chosen: NDArray[np.int64] = np.flatnonzero(head & above)
        return chosen

    def _glasses(self, out: U8) -> None:
        rng, unit, points = self._rng, self._unit, self._points
        tint = tuple(rng.uniform(0, 160, 3)) if rng.random() < 0.5 else (20.0, 20.0, 20.0)
        thick = max(1, round(unit * rng.uniform(0.01, 0.06)))
        size = unit * rng.uniform(0.2, 0.3), unit * rng.uniform(0.14, 0.24)
        across = points["eye_outer_left"] - points["eye_outer_right"]
        angle = float(np.degrees(np.arctan2(across[1], across[0])))
        ends = []
        for side in ("left", "right"):
            centre = points[f"pupil_{side}"] + (0, 0.03 * unit)
            box = (tuple(map(float, centre)), (2 * size[0], 2 * size[1]), angle)
            if rng.random() < 0.5:
                cv2.ellipse(out, box, tint, thick, cv2.LINE_AA)
            else:
                corners = np.rint(cv2.boxPoints(box) * 16).astype(np.int32)
                cv2.polylines(out, [corners], True, tint, thick, cv2.LINE_AA, 4)
            ends.append(centre)
            sign = 1 if side == "left" else -1
            rim = centre + sign * size[0] * across / max(float(np.linalg.norm(across)), 1e-3)
            cv2.line(out, _whole(rim), _whole(points[f"ear_top_{side}"]), tint, thick, cv2.LINE_AA)
        way = (ends[0] - ends[1]) / max(float(np.linalg.norm(ends[0] - ends[1])), 1e-3)
        bridge = _whole(ends[0] - size[0] * way), _whole(ends[1] + size[0] * way)
        cv2.line(out, *bridge, tint, thick, cv2.LINE_AA)


_SHADES: Final = 9  # of hair on one head
_CLOTH: Final = ("top", "sleeve", "collar", "bottom", "skirt")


def _whole(at: F32) -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


def _suns(rng: np.random.Generator) -> tuple[float, list[tuple[F32, float, float, float]]]:
    """Ambient light, and for each sun: direction, strength, softness, shine."""
    sky, suns = float(rng.uniform(0.15, 0.75)), []
    for _ in range(rng.integers(1, 3)):
        way = np.array([rng.normal(0, 0.9), rng.normal(0.5, 0.6), rng.uniform(0.1, 1.3)])
        way /= np.linalg.norm(way)
        strength = (1.15 - sky) * rng.uniform(0.5, 1.1)
        shine = rng.uniform(0, 0.45) * (rng.random() < 0.6)
        suns.append((way.astype(np.float32), strength, rng.uniform(0, 0.5), shine))
    return sky, suns


def backdrop(rng: np.random.Generator, size: int) -> U8:
    """A wall, a gradient, clouds, or clutter."""
    small = rng.uniform(0, 255, (int(rng.integers(2, 9)),) * 2 + (3,))
    if rng.random() < 0.5:
        small = small.mean() + 0.3 * (small - small.mean())
    out = cv2.resize(small.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    for cells in (16, 48, 128):
        if rng.random() < 0.45:
            more = rng.normal(0, rng.uniform(3, 30), (cells, cells, 1 if rng.random() < 0.5 else 3))
            fine = cv2.resize(more.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
            out += fine.reshape(size, size, -1)
    out = np.ascontiguousarray(np.clip(out, 0, 255).astype(np.uint8))
    for _ in range(rng.integers(0, 14) * (rng.random() < 0.6)):
        a, b = rng.uniform(0, size, (2, 2)).astype(int).tolist()
        tint = tuple(rng.uniform(0, 255, 3))
        thick = -1 if rng.random() < 0.5 else int(rng.integers(1, 12))
        kind = rng.integers(3)
        if kind == 0:
            cv2.rectangle(out, a, b, tint, thick)
        elif kind == 1:
            cv2.circle(out, a, int(rng.uniform(4, 90)), tint, thick, cv2.LINE_AA)
        else:
            cv2.line(out, a, b, tint, max(thick, 1), cv2.LINE_AA)
    if rng.random() < 0.5:
        out = cv2.GaussianBlur(out, (0, 0), rng.uniform(0.5, 8))
    return np.asarray(out, np.uint8)
