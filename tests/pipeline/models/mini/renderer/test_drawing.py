"""Drawing: what is visible, in what colour, and what happens at borders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.models.mini.enrolment import background
from pipeline.models.mini.renderer import layer_warp, shading, texture_sampling, warp_layer
from pipeline.models.mini.renderer.rasterizer import FAR, Buffer, rasterise
from pipeline.models.mini.renderer.shading import Canvas, draw, pack

SIZE = 64
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


def vertices(points: F32, colour: tuple[float, float, float] = (200.0, 100.0, 50.0)) -> F32:
    """Rows with places and one fill colour."""
    table = np.zeros((len(points), shading.VERTEX_WIDTH), np.float32)
    table[:, :3] = points
    table[:, [shading.SHADE, shading.COVER]] = 1
    table[:, shading.RED : shading.BLUE + 1] = colour
    return table


def square(left: float, top: float, side: float, depth: float = 1.0) -> tuple[F32, I32]:
    """Two triangles that face the viewer."""
    right, bottom = left + side, top + side
    corners = [[left, top], [right, top], [left, bottom], [right, bottom]]
    points = np.array([[*corner, depth] for corner in corners], np.float32)
    return points, np.array([[0, 2, 1], [1, 2, 3]], np.int32)


def sphere(n: int = 24) -> tuple[F32, I32]:
    """A closed unit sphere with its triangles wound outwards."""
    down, round_ = np.meshgrid(
        np.linspace(0, np.pi, n + 1), np.linspace(0, 2 * np.pi, n, False), indexing="ij"
    )
    points = np.stack(
        [np.sin(down) * np.sin(round_), np.cos(down), np.sin(down) * np.cos(round_)], -1
    ).reshape(-1, 3)
    i, j = np.arange(n)[:, None] * n, np.arange(n)[None]
    k = (j + 1) % n
    a, b, c, d = i + j, i + k, i + n + j, i + n + k
    faces = [np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))]
    return points.astype(np.float32), np.concatenate(faces).astype(np.int32)


def ball(radius: float = 25.3) -> tuple[F32, I32]:
    points, faces = sphere()
    place = np.stack([32.2 + radius * points[:, 0], 31.7 - radius * points[:, 1]], 1)
    return np.column_stack([place, 3 - points[:, 2]]).astype(np.float32), faces


def show(
    table: F32,
    faces: I32,
    texture: NDArray[np.uint8] | None = None,
    two_sided: bool = False,
    tolerance: float = 10.0,
) -> NDArray[np.uint8]:
    """Draw over black."""
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    blank = np.zeros((2, 2, 4), np.uint8)
    draw(
        table, faces, np.zeros(len(faces), np.uint8), np.full(len(faces), two_sided),
        pack(blank if texture is None else texture), out, Canvas(SIZE, SIZE, len(faces)), tolerance,
    )  # fmt: skip
    return out


def coverage(points: F32, faces: I32, two_sided: bool = False) -> NDArray[np.bool_]:
    buffer = Buffer(SIZE, SIZE)
    rasterise(points, faces, np.full(len(faces), two_sided), buffer)
    return np.asarray(buffer.face_map() >= 0)


@pytest.mark.parametrize(("left", "top"), [(-40, 10), (70, 10), (10, -40), (10, 70), (-900, -900)])
def test_triangles_out_of_frame_draw_nothing(left: float, top: float) -> None:
    points, faces = square(left, top, 30)
    assert not coverage(points, faces).any()
    assert not show(vertices(points), faces).any()


def test_triangles_behind_the_camera_draw_nothing() -> None:
    points, faces = square(10, 10, 30, depth=-1.0)
    assert not coverage(points, faces).any()


def test_triangles_without_area_draw_nothing() -> None:
    points = np.array([[5, 5, 1], [30, 30, 1], [55, 55, 1], [5, 5, 1]], np.float32)
    faces = np.array([[0, 1, 2], [0, 0, 1], [0, 3, 0]], np.int32)
    assert not show(vertices(points), faces, two_sided=True).any()


def test_triangles_larger_than_the_frame_fill_it() -> None:
    points, faces = square(-300, -200, 900)
    assert coverage(points, faces).all()


def test_back_faces_are_dropped_unless_two_sided() -> None:
    points, faces = square(10, 10, 30)
    turned = faces[:, ::-1].copy()
    assert not coverage(points, turned).any()
    assert (coverage(points, turned, two_sided=True) == coverage(points, faces)).all()


def test_a_square_covers_exactly_its_pixels() -> None:
    points, faces = square(8, 16, 24)
    expected = np.zeros((SIZE, SIZE, 4), bool)
    expected[16:40, 8:32] = True
    assert (coverage(points, faces) == expected).all()


def test_neighbours_leave_no_gap_and_never_share_a_sample() -> None:
    rng = np.random.default_rng(5)
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0)), -1).reshape(-1, 2) * 8
    inner = ((grid > 0) & (grid < 64)).all(1)
    grid[inner] += rng.uniform(-3, 3, (inner.sum(), 2))
    points = np.column_stack([grid, np.ones(len(grid))]).astype(np.float32)
    corner = (np.arange(8)[:, None] * 9 + np.arange(8)).reshape(-1)
    faces = np.concatenate(
        [np.stack([corner, corner + 9, corner + 1], 1),
         np.stack([corner + 1, corner + 9, corner + 10], 1)]
    ).astype(np.int32)  # fmt: skip
    each = sum(coverage(points, faces[i : i + 1]).astype(int) for i in range(len(faces)))
    assert np.array_equal(each, np.ones((SIZE, SIZE, 4), int))


def test_the_covered_share_of_samples_is_the_area() -> None:
    points, faces = ball()
    assert coverage(points, faces).mean() * SIZE**2 == pytest.approx(np.pi * 25.3**2, rel=0.02)


def test_nearer_hides_farther() -> None:
    near, faces = square(10, 10, 20, depth=1.0)
    far, _ = square(10, 10, 20, depth=2.0)
    table = np.concatenate([vertices(near, (250, 0, 0)), vertices(far, (0, 250, 0))])
    both = np.concatenate([faces, faces + 4])
    for order in (both, both[::-1].copy()):
        assert (show(table, order)[10:30, 10:30] == (250, 0, 0)).all()


def test_triangles_that_cross_hide_each_other_where_they_are_nearer() -> None:
    flat, faces = square(0, 0, 64, depth=2.0)
    tilted, _ = square(0, 0, 64)
    tilted[:, 2] = [1.0, 3.0, 1.0, 3.0]
    table = np.concatenate([vertices(flat, (250, 0, 0)), vertices(tilted, (0, 250, 0))])
    out = show(table, np.concatenate([faces, faces + 4]), tolerance=1e-3)
    assert (out[:, :31] == (0, 250, 0)).all()
    assert (out[:, 33:] == (250, 0, 0)).all()


def test_the_order_of_triangles_does_not_matter() -> None:
    points, faces = ball()
    table = vertices(points)
    table[:, shading.RED] = np.linspace(20, 220, len(points))
    orders = [np.random.default_rng(i).permutation(len(faces)) for i in range(3)]
    frames = [show(table, np.ascontiguousarray(faces[order])) for order in orders]
    assert all((frame == frames[0]).all() for frame in frames)


def test_silhouettes_are_smooth() -> None:
    points, faces = ball()
    red = show(vertices(points, (240, 240, 240)), faces)[..., 0]
    assert {0, 60, 120, 180, 240} <= set(np.unique(red).tolist())


def test_a_texture_laid_flat_is_reproduced() -> None:
    texture = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 4)).astype(np.uint8)
    points, faces = square(0, 0, SIZE)
    table = vertices(points)
    table[:, [shading.U, shading.V]] = points[:, :2]
    table[:, shading.SEEN] = 1
    out = show(table, faces, texture)
    assert np.abs(out.astype(int) - texture[..., :3])[:-1, :-1].max() <= 1


def test_rows_longer_than_a_chunk_are_drawn_whole() -> None:
    wide, high = 2 * texture_sampling.CHUNK + 90, 40
    texture = np.random.default_rng(3).integers(0, 256, (high, wide, 4)).astype(np.uint8)
    points, faces = square(0, 0, 1)
    points[:, :2] *= (wide, high)
    table = vertices(points)
    table[:, [shading.U, shading.V]] = points[:, :2]
    table[:, shading.SEEN] = 1
    out = np.zeros((high, wide, 3), np.uint8)
    canvas, group = Canvas(wide, high, 2), np.zeros(2, np.uint8)
    draw(table, faces, group, np.zeros(2, bool), pack(texture), out, canvas, 10.0)
    assert np.abs(out.astype(int) - texture[..., :3])[:-1, :-1].max() <= 1
    assert canvas.settled.all()


def test_depth_is_told_apart_finely() -> None:
    points, faces = ball()
    buffer = Buffer(SIZE, SIZE)
    rasterise(points, faces, np.zeros(len(faces), bool), buffer)
    depth, face = buffer.depth_map(), buffer.face_map()
    corners = points[faces[face]][..., 2]
    over, under = depth - corners.max(-1), corners.min(-1) - depth
    assert np.maximum(over, under)[face >= 0].max() < 1e-4
    assert (depth[face < 0] == FAR).all()


def test_more_triangles_than_can_be_told_apart_are_refused() -> None:
    faces = np.zeros((70_000, 3), np.int32)
    with pytest.raises(ValueError, match="at most 65535 triangles can be drawn, got 70000"):
        rasterise(ball()[0], faces, np.zeros(len(faces), bool), Buffer(SIZE, SIZE))


def test_blind_rows_take_the_mirror_then_the_fill() -> None:
    texture = np.full((SIZE, SIZE, 4), 80, np.uint8)
    points, faces = square(0, 0, SIZE)
    table = vertices(points, (200, 200, 200))
    for seen, mirror, expected in ((0, 0, 200), (0, 1, 80), (0, 0.5, 140), (1, 0, 80)):
        table[:, shading.SEEN], table[:, shading.MIRROR_SEEN] = seen, mirror
        assert np.abs(show(table, faces, texture).astype(int) - expected).max() <= 1


def test_shade_multiplies_and_saturates() -> None:
    points, faces = square(0, 0, SIZE)
    table = vertices(points, (100, 100, 100))
    table[:, shading.SHADE] = 0.5
    assert (show(table, faces) == 50).all()
    table[:, shading.SHADE] = 4.0
    assert (show(table, faces) == 255).all()


def test_cover_lets_the_background_through() -> None:
    points, faces = square(0, 0, SIZE)
    table = vertices(points, (100, 100, 100))
    table[:, shading.COVER] = 0.25
    assert (show(table, faces) == 25).all()


def test_surfaces_of_two_groups_are_blended_where_they_meet() -> None:
    left, faces = square(0, 0, 30.5)
    right, _ = square(30.5, 0, 30.5)
    table = np.concatenate([vertices(left, (200, 0, 0)), vertices(right, (0, 200, 0))])
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    both = np.concatenate([faces, faces + 4])
    groups = np.array([0, 0, 1, 1], np.uint8)
    texture = pack(np.zeros((2, 2, 4), np.uint8))
    draw(table, both, groups, np.zeros(4, bool), texture, out, Canvas(SIZE, SIZE, 4), 10.0)
    assert (out[10, 30] == (100, 100, 0)).all()


def test_slivers_keep_to_the_colours_of_their_corners() -> None:
    rng = np.random.default_rng(7)
    left = rng.uniform(0, 60, (400, 2))
    corners = np.array([[0, 0], [3.0, 0.02], [1.5, 0]])
    slim = left[:, None] + corners + rng.normal(0, 1e-3, (400, 3, 2))
    points = np.column_stack([slim.reshape(-1, 2), np.full(1200, 2.0)]).astype(np.float32)
    table = vertices(points, (100, 100, 100))
    table[:, shading.SHADE] = rng.choice([0.5, 1.5], 1200)
    table[:, shading.SEEN] = 1
    grey = np.full((SIZE, SIZE, 4), 100, np.uint8)
    out = show(table, np.arange(1200, dtype=np.int32).reshape(-1, 3), grey, two_sided=True)
    assert out.max() <= 151
    assert (np.ptp(out.astype(int), axis=2) == 0).all()


def test_two_threads_draw_the_same_frames_as_one() -> None:
    points, faces = ball()
    tables = [vertices(points + np.float32([i, 0, 0])) for i in range(8)]
    alone = [show(table, faces) for table in tables]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda table: show(table, faces), tables))
    assert all((a == b).all() for a, b in zip(alone, together, strict=True))


def test_sizes_that_do_not_fit_are_refused() -> None:
    points, faces = square(0, 0, 8)
    groups, sided = np.zeros(2, np.uint8), np.zeros(2, bool)
    texture, small = pack(np.zeros((2, 2, 4), np.uint8)), np.zeros((8, 9, 3), np.uint8)
    with pytest.raises(ValueError, match=r"canvas is 8 x 8, picture is \(8, 9, 3\)"):
        draw(vertices(points), faces, groups, sided, texture, small, Canvas(8, 8, 2), 1.0)
    with pytest.raises(ValueError, match="canvas holds 1 triangles, got 2"):
        draw(vertices(points), faces, groups, sided, texture, small[:, :8], Canvas(8, 8, 1), 1.0)
    with pytest.raises(ValueError, match="a texture is"):
        pack(np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="0 x 5"):
        Buffer(0, 5)


def test_an_empty_buffer_is_far_everywhere() -> None:
    assert (Buffer(5, 3).depth_map() == FAR).all()


def test_filling_keeps_what_is_known_and_continues_a_slope() -> None:
    y, x = np.mgrid[:48, :48].astype(np.float32)
    picture = np.stack([x, y, x + y], -1)
    known = np.ones((48, 48), np.float32)
    known[15:30, 12:33] = 0
    filled = background.fill(np.where(known[..., None] > 0, picture, 999).astype(np.float32), known)
    assert (filled[known > 0] == picture[known > 0]).all()
    assert np.abs(filled - picture).max() < 2.0


def test_filling_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing is known"):
        background.fill(np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.float32))


def make_sheet(rows: F32, body: NDArray[np.bool_] | None = None) -> warp_layer.Sheet:
    """A sheet of a bright disc over all of a dark picture, bound to ``rows``."""
    y, x = np.mgrid[:128, :128]
    disc = np.hypot(x - 64, y - 64) < 30
    texture = np.full((128, 128, 4), 220, np.uint8)
    texture[..., 3] = 255 * disc
    sure = np.ones(len(rows), np.float32)
    alpha = disc.astype(np.float32)
    return warp_layer.build(pack(texture), alpha, disc, rows, sure, SIZE, SIZE, body)


def drawn(made: warp_layer.Sheet, rows: F32) -> NDArray[np.uint8]:
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    draw_sheet(made, rows, out)
    return out[..., 0]


def draw_sheet(
    made: warp_layer.Sheet,
    rows: F32,
    out: NDArray[np.uint8],
    settled: NDArray[np.bool_] | None = None,
) -> F32:
    """Draw over ``out``; returns where the nodes went."""
    nodes = np.empty_like(made.nodes)
    if settled is None:
        settled = np.zeros(out.shape[:2], np.bool_)
    layer_warp.move(made, rows, nodes)
    layer_warp.draw(made, nodes, settled, texture_sampling.tables(), out)
    return nodes


def followed() -> F32:
    spread = np.random.default_rng(0).uniform(16, 48, (80, 2))
    return np.column_stack([spread, np.ones(80)]).astype(np.float32)


def test_a_sheet_at_rest_is_the_picture() -> None:
    rows = followed()
    y, x = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(x - 31.5, y - 31.5)
    out = drawn(make_sheet(rows), rows)
    assert (out[radius < 13] == 220).all()
    assert (out[radius > 17] == 0).all()


def test_a_sheet_moves_and_turns_with_its_rows() -> None:
    rows = followed()
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = rows.copy()
    moved[:, :2] = (rows[:, :2] - 32) @ turn.T + (40, 30)
    made = make_sheet(rows)
    nodes = draw_sheet(made, moved, np.zeros((SIZE, SIZE, 3), np.uint8))
    assert np.abs(nodes - ((made.nodes - 32) @ turn.T + (40, 30))).max() < 0.02
    y, x = np.nonzero(drawn(made, moved))
    assert (x.mean(), y.mean()) == pytest.approx((39.5, 29.5), abs=0.5)


def test_an_elastic_sheet_rests_away_from_the_body() -> None:
    rows = followed()
    body = np.zeros((128, 128), bool)
    body[60:68, 60:68] = True
    made = make_sheet(rows, body)
    moved = rows + np.float32([5, 0, 0])
    nodes = draw_sheet(made, moved, np.zeros((SIZE, SIZE, 3), np.uint8))
    step = (nodes - made.nodes)[:, 0]
    far = np.hypot(*(made.nodes - 32).T)
    assert step[far < 3].min() > 4.5
    assert step[far > 15].max() < 2.0


def test_settled_pixels_are_left_to_the_surface() -> None:
    rows, settled = followed(), np.zeros((SIZE, SIZE), np.bool_)
    settled[:32] = True
    out = np.zeros((SIZE, SIZE, 3), np.uint8)
    made = make_sheet(rows)
    draw_sheet(made, rows, out, settled)
    assert not out[:32].any()
    assert (out[32:, :, 0] == drawn(made, rows)[32:]).all()


def test_a_sheet_without_anything_to_show_draws_nothing() -> None:
    rows = followed()
    nothing = np.zeros((128, 128), bool)
    texture = pack(np.zeros((128, 128, 4), np.uint8))
    made = warp_layer.build(
        texture, nothing.astype(np.float32), nothing, rows, np.ones(80, np.float32), SIZE, SIZE
    )
    assert made.empty
    assert not drawn(made, rows).any()
