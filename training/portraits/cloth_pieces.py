"""Pieces of cloth from the body's tights: cut along lines, loosened, folded, hemmed, collared.

A cut is a field over places on the base mesh (metres): cloth stays where it is negative.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.portraits.figure import Surface
from training.portraits.hair import Ground, ripple, unit

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Field = Callable[[Floats], Floats]


def clip(cloth: Surface, field: Field) -> Surface:
    """The part where ``field(place) < 0``, cut exactly; its faces become triangles (-1 last)."""
    a, b, c, d = cloth.faces.T
    whole = d >= 0
    tri = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)[whole]])
    value = field(cloth.place)
    inside = (value[tri] < 0).sum(1)
    edge = tri[(inside == 1) | (inside == 2)]
    many = (value[edge] < 0).sum(1) == 2
    odd = np.argmax((value[edge] < 0) != many[:, None], 1)  # the corner on its own
    edge = np.take_along_axis(edge, (odd[:, None] + np.arange(3)) % 3, 1)
    fresh, first, second = _crossings(edge, value, len(value))
    one = np.stack([edge[:, 0], first, second], 1)[~many]
    two = np.concatenate([
        np.stack([first, edge[:, 1], edge[:, 2]], 1)[many],
        np.stack([first, edge[:, 2], second], 1)[many],
    ])  # fmt: skip
    tri = np.concatenate([tri[inside == 3], one, two]).astype(np.int32)
    faces = np.concatenate([tri, np.full((len(tri), 1), -1, np.int32)], 1)
    everything = Surface(
        *(np.concatenate([v, _blend(v, *fresh)]) if k != 1 else faces
          for k, v in enumerate((cloth.points, faces, cloth.place, cloth.uv)))
    )  # fmt: skip
    return compact(everything)


def _crossings(
    edge: Ints, value: Floats, count: int
) -> tuple[tuple[Ints, Ints, Floats], Ints, Ints]:
    pairs = np.concatenate([edge[:, [0, 1]], edge[:, [0, 2]]])
    unique, number = np.unique(np.sort(pairs, 1), axis=0, return_inverse=True)
    u, v = unique.T
    share = (value[u] / (value[u] - value[v])).astype(np.float32)
    number = number.reshape(-1) + count
    half = len(edge)
    return (u, v, share), number[:half], number[half:]


def _blend(values: Floats, u: Ints, v: Ints, share: Floats) -> Floats:
    return np.asarray(values[u] + share[:, None] * (values[v] - values[u]), np.float32)


def compact(cloth: Surface) -> Surface:
    """Drop vertices that no face uses (triangles marked by -1 stay so)."""
    used = np.unique(cloth.faces[cloth.faces >= 0])
    number = np.full(len(cloth.points) + 1, -1, np.int32)
    number[used] = np.arange(len(used))
    return Surface(cloth.points[used], number[cloth.faces], cloth.place[used], cloth.uv[used])


def neighbours(faces: Ints, count: int) -> sparse.csr_matrix:
    """Row-normalised adjacency over the edges of quads and triangles."""
    last = np.where(faces[:, 3] < 0, faces[:, 2], faces[:, 3])
    ring = np.stack([faces[:, 0], faces[:, 1], faces[:, 2], last], 1)
    i = np.concatenate([ring.reshape(-1), np.roll(ring, -1, 1).reshape(-1)])
    j = np.concatenate([np.roll(ring, -1, 1).reshape(-1), ring.reshape(-1)])
    keep = i != j
    grid = sparse.coo_matrix(
        (np.ones(keep.sum()), (i[keep], j[keep])), shape=(count, count)
    ).tocsr()
    grid.data[:] = 1
    return (sparse.diags(1 / np.maximum(np.asarray(grid.sum(1)).reshape(-1), 1)) @ grid).tocsr()


def loosen(
    cloth: Surface, slack: Floats, rounds: int, rng: np.random.Generator, fold: float | Floats
) -> Surface:
    """Cloth that bridges hollows: smoothed, folded, never below ``slack`` (M,) over the body."""
    grid = neighbours(cloth.faces, len(cloth.points))
    skin, normal = cloth.points.astype(np.float64), cloth.normals.astype(np.float64)
    points = skin + normal * slack[:, None]
    for _ in range(rounds):
        points = 0.5 * points + 0.5 * (grid @ points)
        short = np.maximum(0.0, slack - ((points - skin) * normal).sum(1))
        points += normal * short[:, None]
    for _ in range(6):
        points = 0.5 * points + 0.5 * (grid @ points)
    points = points + normal * (fold * wrinkles(cloth.place, rng))[:, None]
    return Surface(points.astype(np.float32), cloth.faces, cloth.place, cloth.uv)


def settle(cloth: Surface, field: Field, ground: Ground, gap: float, reach: float) -> Surface:
    """Lay the cloth within ``reach`` of its rim (``field`` = 0) down to ``gap`` over the skin.

    No light falls between a collar and the neck then, and no dark hole shows beside a wrist.
    """
    near = np.clip(1 + field(cloth.place) / reach, 0, 1)
    near = near * near * (3 - 2 * near)
    height, normal = ground.height(cloth.points)
    down = near * np.maximum(height - gap, 0)
    points = (cloth.points - normal * down[:, None]).astype(np.float32)
    return Surface(points, cloth.faces, cloth.place, cloth.uv)


def arm(place: Floats) -> Floats:
    """How far along its arm a place lies: 0 at the shoulder joint, 0.227 elbow, 0.45 wrist."""
    x, y, z = np.abs(place[:, 0]), place[:, 1], place[:, 2]
    upper = 0.64 * (x - 0.168) - 0.77 * (y - 1.341)
    fore = 0.52 * (x - 0.313) - 0.46 * (y - 1.166) + 0.72 * (z - 0.013)
    limb = np.clip((x - 0.22) / 0.05, 0, 1) * (y > 0.88)
    return np.asarray(np.minimum(upper, 0.227) + np.maximum(fore, 0) * limb, np.float32)


def wrinkles(place: Floats, rng: np.random.Generator) -> Floats:
    """Folds (M,) in about -1..1: across the elbows, slanting at the armpits, soft at the waist."""
    x, y = np.abs(place[:, 0]), place[:, 1]
    limb = np.clip((x - 0.17) / 0.04, 0, 1) * (y > 0.95)
    along = arm(place)
    bend = np.exp(-(((along - 0.225) / 0.06) ** 2)) + 0.6 * np.exp(-(((along - 0.42) / 0.04) ** 2))
    turn = np.sin(40 * place[:, 2]) * 0.012  # folds run slantwise around the arm
    side = np.stack([(along + turn) * 5, place[:, 2] * 5, y * 1.2], 1).astype(np.float32)
    sleeve = _ridge(side, 0.13, rng) * (0.30 + 0.9 * bend)
    slant = np.stack([place[:, 0] * 1.6, y * 5 + 3.0 * x, place[:, 2]], 1).astype(np.float32)
    pit = np.exp(-(((x - 0.15) / 0.05) ** 2 + ((y - 1.25) / 0.09) ** 2))
    waist = np.exp(-(((y - 1.00) / 0.07) ** 2))
    body = _ridge(slant, 0.22, rng) * (0.28 + 0.9 * pit + 0.6 * waist)
    hang = np.stack([place[:, 0] * 6, y * 0.8, place[:, 2] * 4], 1).astype(np.float32)
    drape = 0.35 * ripple(hang, 0.35, rng)[:, 0] * np.clip((1.2 - y) / 0.3, 0, 1)
    leg = np.clip((0.80 - y) / 0.06, 0, 1)
    shin = np.stack([y * 5, place[:, 2] * 4, place[:, 0] * 4], 1).astype(np.float32)
    breaks = np.exp(-(((y - 0.13) / 0.07) ** 2)) + 0.7 * np.exp(-(((y - 0.47) / 0.07) ** 2))
    trouser = _ridge(shin, 0.15, rng) * (0.25 + 0.9 * breaks)
    trunk = (1 - leg) * (body + drape) + leg * trouser
    return np.asarray(limb * sleeve + (1 - limb) * trunk, np.float32)


def _ridge(points: Floats, scale: float, rng: np.random.Generator) -> Floats:
    """Sharp crests over wide hollows, about -0.5..1."""
    bent = points + 0.25 * scale * ripple(points, 2.5 * scale, rng)
    crest = 1 - np.abs(ripple(bent, scale, rng)[:, 0])
    return np.asarray(np.clip(crest, -0.3, 1) ** 2 * np.sign(crest) - 0.25, np.float32)


def rims(cloth: Surface, field: Field, reach: float = 1e-4) -> list[Ints]:
    """Closed or open chains of boundary vertices that lie on ``field`` = 0, longest first."""
    last = np.where(cloth.faces[:, 3] < 0, cloth.faces[:, 0], cloth.faces[:, 3])
    a = np.concatenate([cloth.faces[:, 0], cloth.faces[:, 1], cloth.faces[:, 2], last])
    b = np.concatenate([cloth.faces[:, 1], cloth.faces[:, 2], last, cloth.faces[:, 0]])
    keep = a != b
    a, b = a[keep], b[keep]
    low, high = np.minimum(a, b), np.maximum(a, b)
    pair = low.astype(np.int64) * len(cloth.points) + high
    _, first, uses = np.unique(pair, return_index=True, return_counts=True)
    edge = first[uses == 1]
    on = np.abs(field(cloth.place)) < reach
    edge = edge[on[a[edge]] & on[b[edge]]]
    return _chains(dict(zip(a[edge].tolist(), b[edge].tolist(), strict=True)))


def _chains(following: dict[int, int]) -> list[Ints]:
    chains = []
    while following:
        heads = set(following) - set(following.values())
        at = heads.pop() if heads else next(iter(following))
        chain = [at]
        while at in following:
            at = following.pop(at)
            chain.append(at)
        chains.append(np.array(chain, np.int32))
    return sorted(chains, key=len, reverse=True)


def even(line: Floats, count: int) -> Floats:
    """Resample a polyline (N, K) to ``count`` points at equal distances, smoothed a little."""
    step = np.linalg.norm(np.diff(line[:, :3], axis=0), axis=1)
    s = np.concatenate([[0], np.cumsum(step)])
    t = np.linspace(0, s[-1], count)
    out = np.stack([np.interp(t, s, column) for column in line.T], 1)
    closed = np.linalg.norm(line[0, :3] - line[-1, :3]) < 1e-3
    for _ in range(4):
        inner = 0.5 * out[1:-1] + 0.25 * (out[:-2] + out[2:])
        ends = 0.5 * out[0] + 0.25 * (out[1] + out[-2])
        out[1:-1] = inner
        if closed:
            out[0] = out[-1] = ends
    return out.astype(np.float32)


def sweep(rows: Floats) -> tuple[Floats, Ints]:
    """Points (R * C, 3) and quads of a sheet given as a grid (R, C, 3)."""
    height, width = rows.shape[:2]
    i, j = np.meshgrid(np.arange(height - 1), np.arange(width - 1), indexing="ij")
    k = i * width + j
    quads = np.stack([k, k + 1, k + width + 1, k + width], -1).reshape(-1, 4)
    return rows.reshape(-1, 3).astype(np.float32), quads.astype(np.int32)


def band(line: Floats, out: Floats, up: Floats, width: float, thick: float) -> Floats:
    """A band's grid along ``line`` (C, 3): a rounded strip ``width`` high, ``thick`` deep."""
    angle = np.linspace(0, 2 * np.pi, 17)
    across = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.6 * width / 2
    deep = np.sin(angle) * thick / 2
    return (line[None] + across[:, None, None] * up[None] + deep[:, None, None] * out[None]).astype(
        np.float32
    )


def frame(line: Floats, normals: Floats) -> tuple[Floats, Floats]:
    """Outward and in-surface crosswise unit vectors (C, 3) along a line on a surface."""
    along = unit(np.gradient(line, axis=0).astype(np.float32))
    out = unit(normals - along * (normals * along).sum(1, keepdims=True))
    return out, unit(np.cross(out, along))
