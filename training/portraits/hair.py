"""Strands: roots sampled on the skin, grown step by step along a flow that hugs the head.

Strands are groomed once on the person's neutral surface. ``Strands.follow`` carries them to any
pose: rigidly with the skull, corrected by where each root's skin went.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from training.portraits.figure import Surface

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Flow = Callable[[Floats, Floats, float], Floats]  # points, roots' places, progress -> directions


@dataclass(frozen=True, slots=True)
class Roots:
    """Where strands leave the skin: ``points`` and ``normals`` (S, 3), ``place`` on the base."""

    points: Floats
    normals: Floats
    place: Floats
    corners: Ints  # (S, 3) vertices of the dense skin
    shares: Floats  # (S, 3) barycentric


@dataclass(frozen=True, slots=True)
class Strands:
    """Curves (S, K, 3) with the skin that they grow from; ``ring`` (S,) is random per strand."""

    curves: Floats
    corners: Ints
    shares: Floats
    ring: Floats

    def follow(self, rest: Surface, posed: Surface, skull: NDArray[np.bool_]) -> Floats:
        """The curves on the skin's posed surface."""
        turn, shift = rigid(rest.points[skull], posed.points[skull])
        before = np.einsum("sc,sck->sk", self.shares, rest.points[self.corners])
        after = np.einsum("sc,sck->sk", self.shares, posed.points[self.corners])
        slip = after - (before @ turn.T + shift)
        return np.asarray(self.curves @ turn.T + shift + slip[:, None], np.float32)


def rigid(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The rotation (3, 3) and shift (3,) that take points ``a`` to ``b`` best."""
    ma, mb = a.mean(0), b.mean(0)
    u, _, vt = np.linalg.svd((a - ma).T @ (b - mb))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    turn = (u @ sign @ vt).T
    return turn.astype(np.float32), (mb - ma @ turn.T).astype(np.float32)


def sample(skin: Surface, density: Floats, count: int, rng: np.random.Generator) -> Roots:
    """About ``count`` roots, spread by area times the per-vertex ``density`` (M,)."""
    a, b, c, d = skin.faces.T
    corners = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    p = skin.points[corners]
    area = np.linalg.norm(np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]), axis=1)
    weight = area * density[corners].mean(1)
    picked = rng.choice(len(corners), count, p=weight / weight.sum())
    u = np.sqrt(rng.random(count))
    v = rng.random(count)
    shares = np.stack([1 - u, u * (1 - v), u * v], 1).astype(np.float32)
    corners = corners[picked]

    def at(values: Floats) -> Floats:
        return np.asarray(np.einsum("sc,sck->sk", shares, values[corners]), np.float32)

    normal = at(skin.normals)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return Roots(at(skin.points), normal, at(skin.place), corners.astype(np.int32), shares)


def ripple(points: Floats, scale: float, rng: np.random.Generator, waves: int = 10) -> Floats:
    """Smooth noise (N, 3) of about unit size, the same for neighbours; ``scale`` in metres."""
    k = rng.normal(size=(waves, 3)) / scale
    phase = rng.uniform(0, 2 * np.pi, (3, waves))
    return np.asarray(
        np.stack([np.sin(points @ k.T + ph).sum(1) for ph in phase], 1) * np.sqrt(2 / waves),
        np.float32,
    )


def unit(v: Floats) -> Floats:
    return np.asarray(v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-9), np.float32)


@dataclass(frozen=True, slots=True)
class Ground:
    """The surface that hair lies on: dense points and normals behind a nearest-point tree."""

    tree: cKDTree
    points: Floats
    normals: Floats

    @classmethod
    def of(cls, points: Floats, normals: Floats) -> Ground:
        return cls(cKDTree(points), points, normals)

    def height(self, points: Floats) -> tuple[Floats, Floats]:
        """Signed height over the surface (N,) and the normal there (N, 3), averaged over three."""
        far, near = self.tree.query(points, k=4)
        share = 1 / (far + 1e-4)
        share = (share / share.sum(1, keepdims=True))[..., None]
        normal = unit((self.normals[near] * share).sum(1))
        foot = (self.points[near] * share).sum(1)
        return ((points - foot) * normal).sum(1), normal


def grow(
    roots: Roots,
    flow: Flow,
    length: Floats,
    lift: Floats,
    ground: Ground,
    steps: int = 10,
    hug: float = 0.8,
    rise: float = 0.35,
    release: Callable[[Floats], Floats] | None = None,
) -> Floats:
    """Curves (S, steps, 3): strands leave along the normal, bend into ``flow`` and hold ``lift``.

    ``lift`` (S,) is the height over the surface that is reached after ``rise`` of the way;
    ``release`` (points -> 0..1) says where hair lets go of the surface and hangs.
    """
    point, stride = roots.points.copy(), length[:, None] / (steps - 1)
    curves = [point.copy()]
    heading = roots.normals.copy()
    for k in range(1, steps):
        s = k / (steps - 1)
        heading = unit(heading + 1.6 * flow(point, roots.place, s))
        point = point + heading * stride
        height, normal = ground.height(point)
        target = lift * min(1.0, s / rise) ** 0.7
        hold = np.full(len(point), hug) if release is None else hug * (1 - release(point))
        off = target - height
        point = point + normal * np.where(height < 0.3 * target, off, off * hold)[:, None]
        heading = unit(point - curves[-1])
        curves.append(point.copy())
    return np.stack(curves, 1).astype(np.float32)


def clump(curves: Floats, share: float, amount: float, rng: np.random.Generator) -> Floats:
    """Pull tips towards those of ``share`` of the strands, chosen at random, into locks."""
    guides = rng.choice(len(curves), max(int(len(curves) * share), 8), replace=False)
    _, near = cKDTree(curves[guides, 0]).query(curves[:, 0])
    s = np.linspace(0, 1, curves.shape[1], dtype=np.float32)[None, :, None]
    pull = amount * s**1.2 * rng.uniform(0.5, 1.0, (len(curves), 1, 1)).astype(np.float32)
    return np.asarray(curves + pull * (curves[guides[near]] - curves), np.float32)


def frizz(curves: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Stray every strand on its own, growing towards the tip; ``size`` in metres."""
    strands, steps = curves.shape[:2]
    walk = np.cumsum(rng.normal(size=(strands, steps, 3)), 1) / np.sqrt(steps)
    walk -= walk[:, :1]
    return np.asarray(curves + size * walk, np.float32)


def curl(curves: Floats, radius: float, turns: float, rng: np.random.Generator) -> Floats:
    """Wind every strand around its own line."""
    strands, steps = curves.shape[:2]
    along = unit(np.gradient(curves, axis=1))
    side = unit(np.cross(along, rng.normal(size=(strands, 1, 3))))
    other = np.cross(along, side)
    s = np.linspace(0, 1, steps)[None, :, None]
    angle = 2 * np.pi * (turns * s + rng.random((strands, 1, 1)))
    grow_in = np.minimum(1, 4 * s)
    return np.asarray(
        curves + radius * grow_in * (np.cos(angle) * side + np.sin(angle) * other), np.float32
    )
