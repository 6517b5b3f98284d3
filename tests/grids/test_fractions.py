"""Fractions of cells and faces inside of shapes; shapes that are moved and turned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import diffphys as dp
from diffphys.grids import Shape, rotation_matrix, tanh_edges
from tests.gradients import check_derivatives


pytestmark = pytest.mark.usefixtures("float64", "unchecked_types")


def measured(shape, grid) -> tuple[np.ndarray, list[np.ndarray]]:
    """The fraction of each cell and, for each axis, of each face inside of the shape."""

    @jax.jit
    def measure(shape):
        return shape.volume_fractions(grid), [1 - shape.apertures(grid, axis) for axis in range(grid.dimensions)]

    cells, faces = measure(shape)
    return np.asarray(cells), [np.asarray(face) for face in faces]


def volume(shape, grid) -> float:
    return float(np.sum(measured(shape, grid)[0] * grid.volumes()))


def test_areas_of_a_disk_and_its_chords_are_of_second_order():
    shape, radius, x0 = dp.Sphere((0.03, -0.02), 0.7), 0.7, 0.03
    areas, chords = [], []
    for count in (16, 32, 64):
        grid = dp.Grid((count, count + 1)).with_edges(0, tanh_edges(count, -1.0, 1.0, 0.5))
        grid = grid.with_edges(1, np.linspace(-1.05, 1.05, count + 2))
        cells, faces = measured(shape, grid)
        areas.append(abs(np.sum(cells * grid.volumes()) - np.pi * radius**2))
        exact = 2 * np.sqrt(np.maximum(radius**2 - (grid.edges[0] - x0) ** 2, 0))
        chords.append(np.abs(faces[0] @ grid.widths(1) - exact).mean())
        for values in (cells, *faces):
            assert values.min() == 0.0 and values.max() == 1.0
    for errors in (areas, chords):
        assert errors[-1] < 3e-4 and np.polyfit(np.log([16, 32, 64]), np.log(errors), 1)[0] < -1.8, errors


def test_the_volume_of_a_ball_is_of_second_order_and_cells_agree_with_their_faces():
    errors = []
    for count in (6, 12, 24):
        grid = dp.Grid((count, count + 1, count), (2.0, 2.1, 2.2), (-1.0, -1.05, -1.1))
        cells, faces = measured(dp.Sphere((0.03, -0.02, 0.01), 0.7), grid)
        errors.append(abs(np.sum(cells * grid.volumes()) - 4 / 3 * np.pi * 0.7**3))
        for axis, face in enumerate(faces):  # around a full cell all faces are full, around an empty one all are empty
            lower, upper = (face.take(range(start, start + grid.cells[axis]), axis) for start in (0, 1))
            for number in (0, 1):
                same = cells == number
                assert same.any() and np.all(lower[same] == number) and np.all(upper[same] == number)
    assert np.all(np.log2(np.array(errors[:-1]) / errors[1:]) > 1.8), errors


def test_plane_cuts_are_exact():
    """A half space at any angle: by symmetry it fills half of a cell whose center it touches; boxes are exact."""
    grid = dp.Grid((1, 1, 1), (1.0, 2.0, 0.5), (-0.5, -1.0, -0.25))
    half = dp.Box((-np.inf, -50.0, -50.0), (0.0, 50.0, 50.0))
    vectors = jnp.asarray(np.random.default_rng(0).standard_normal((4, 3)))
    about = jnp.zeros(3)
    found = jax.jit(jax.vmap(lambda vector: half.rotated(vector, about).volume_fractions(grid)))(vectors)
    np.testing.assert_allclose(found, 0.5, atol=1e-12)
    # the plane x + y + z = 1 / 2 cuts a corner of volume 1 / 48 off the unit cube, and triangles of 1 / 8 off its faces
    cube = dp.Grid((1, 1, 1))
    axis = np.cross([1, 0, 0], [1, 1, 1])
    turn = axis / np.linalg.norm(axis) * np.arccos(3**-0.5)
    plane = dp.Box((-100.0,) * 3, (0.5 * 3**-0.5, 100.0, 100.0)).rotated(turn, np.zeros(3))
    cells, faces = measured(plane, cube)
    np.testing.assert_allclose(cells, 1 / 48, rtol=1e-12)
    for face in faces:
        np.testing.assert_allclose(np.sort(face.ravel()), [0, 1 / 8], atol=1e-12)
    box = dp.Box((0.3, 0.7), (2.1, np.inf))
    uniform = dp.Grid((4, 3))
    cells, faces = measured(box, uniform)
    np.testing.assert_allclose(cells, np.outer([0.7, 1.0, 0.1, 0.0], [0.3, 1.0, 1.0]), atol=1e-14)
    np.testing.assert_allclose(faces[0], np.outer([0, 1, 1, 0, 0], [0.3, 1, 1]), atol=1e-14)
    np.testing.assert_allclose(measured(~box, uniform)[0], 1 - cells, atol=1e-14)


def test_what_touches_a_face_closes_it():
    grid = dp.Grid((6, 4), (0.6, 0.4))
    for box in (dp.Box((0.1, 0.1), (0.3, 0.3)), dp.Box((0.1, 0.1), (0.3, 0.3)) | dp.Box((0.1, 0.1), (0.2, 0.2))):
        _, faces = measured(box, grid)
        np.testing.assert_allclose(faces[0][:, 1:3], np.outer([0, 1, 1, 1, 0, 0, 0], [1, 1]), atol=1e-12)
        np.testing.assert_allclose(faces[0][:, [0, 3]], 0, atol=1e-12)


def test_sets_are_measured_once():
    """Two disks that share a lens; the sum of their areas would count it twice."""
    grid = dp.Grid((60, 40), (3.0, 2.0), (-1.5, -1.0))
    radius, distance = 0.6, 0.7
    one, other = (dp.Sphere((sign * distance / 2, 0.0), radius) for sign in (-1, 1))
    lens = 2 * radius**2 * np.arccos(distance / 2 / radius) - distance / 2 * np.sqrt(4 * radius**2 - distance**2)
    disk = np.pi * radius**2
    for shape, exact in ((one | other, 2 * disk - lens), (one & other, lens), (one & ~other, disk - lens)):
        assert abs(volume(shape, grid) - exact) < 2e-3, shape
    far = one.translated((0.0, 0.1)) | other
    np.testing.assert_allclose(volume(far | far, grid), volume(far, grid), atol=1e-14)


@pytest.mark.slow
def test_derivatives_of_fractions(key):
    """With respect to center, radius, angle and place; and the area's derivative is the circumference."""
    grid = dp.Grid((7, 6), (2.0, 2.2), (-1.0, -1.1))
    point = (
        dp.Sphere((0.03, -0.02), 0.71),
        dp.Box((-0.52, -0.31), (0.44, 0.63)).rotated(0.3, (0.1, 0.0)).translated((0.07, 0.02)),
    )

    def fractions(shapes):
        disk, box = shapes
        return disk.volume_fractions(grid), disk.apertures(grid, 1, True), box.apertures(grid, 0)

    check_derivatives(fractions, point, key, second=False)
    fine = dp.Grid((64, 64), (2.0, 2.2), (-1.0, -1.1))
    area = jax.jit(jax.grad(lambda disk: jnp.sum(disk.volume_fractions(fine) * fine.volumes())))(point[0])
    np.testing.assert_allclose(area.radius, 2 * np.pi * 0.71, rtol=1e-3)
    np.testing.assert_allclose(area.center, 0.0, atol=1e-2)
    solid = dp.Grid((12, 13, 11), (2.0, 2.1, 2.2), (-1.0, -1.05, -1.1))  # of a ball, by radius: its surface
    size = jax.jit(jax.grad(lambda ball: jnp.sum(ball.volume_fractions(solid) * solid.volumes())))
    np.testing.assert_allclose(size(dp.Sphere((0.03, -0.02, 0.01), 0.7)).radius, 4 * np.pi * 0.49, rtol=2e-2)


# Moving and turning --------------------------------------------------------------------------------------------------


def test_rotation_matrices():
    np.testing.assert_allclose(rotation_matrix(np.pi / 2), [[0, -1], [1, 0]], atol=1e-15)
    vectors = np.random.default_rng(0).standard_normal((5, 3)) * np.array([1, 1e-2, 1e-4, 1e-9, 3])[:, None]
    for vector in (*vectors, np.zeros(3)):
        np.testing.assert_allclose(rotation_matrix(vector), Rotation.from_rotvec(vector).as_matrix(), atol=1e-15)
    slopes = jax.jacobian(rotation_matrix)(jnp.zeros(3))  # at zero: the cross product
    np.testing.assert_allclose(slopes[..., 2], [[0, -1, 0], [1, 0, 0], [0, 0, 0]], atol=1e-15)
    np.testing.assert_array_equal(rotation_matrix(np.eye(3)), np.eye(3))


def test_turned_and_moved_shapes_contain_turned_and_moved_points():
    generator = np.random.default_rng(1)
    for dimensions, rotation in ((2, 0.7), (3, np.array([0.3, -0.8, 0.5]))):
        box = dp.Box(-0.5 - generator.random(dimensions), 0.2 + generator.random(dimensions))
        points = generator.uniform(-2, 2, (dimensions, 400))
        about, by = generator.standard_normal((2, dimensions))
        matrix = np.asarray(rotation_matrix(rotation))
        moved = (matrix @ (points - about[:, None])) + about[:, None] + by[:, None]
        for given in (rotation, matrix):
            turned = box.rotated(given, about).translated(by)
            np.testing.assert_allclose(turned.distance(list(moved)), box.distance(list(points)), atol=1e-13)


@pytest.mark.parametrize(
    "words, make",
    [
        ("rotation", lambda: dp.Sphere((0.0, 0.0), 1.0).rotated((1.0, 2.0, 3.0), (0.0, 0.0))),
        ("rotation", lambda: dp.Sphere((0.0, 0.0, 0.0), 1.0).rotated(1.0, (0.0, 0.0, 0.0))),
        ("rotation matrix", lambda: dp.Sphere((0.0, 0.0), 1.0).rotated([[1.0, 0.2], [0.0, 1.0]], (0.0, 0.0))),
        ("rotation matrix", lambda: dp.Sphere((0.0, 0.0), 1.0).rotated([[1.0, 0.0], [0.0, -1.0]], (0.0, 0.0))),
        ("about", lambda: dp.Sphere((0.0, 0.0), 1.0).rotated(1.0, (0.0, float("nan")))),
        ("by", lambda: dp.Sphere((0.0, 0.0), 1.0).translated((1.0,)).contains([jnp.zeros(2)] * 2)),
        ("by", lambda: dp.Sphere((0.0, 0.0), 1.0).translated("left")),
        ("axis", lambda: dp.Sphere((0.0, 0.0), 1.0).apertures(dp.Grid((3, 3)), 2)),
        ("center", lambda: dp.Sphere((0.0, 0.0), 1.0).volume_fractions(dp.Grid((3, 3, 3)))),
    ],
)
def test_bad_arguments_are_refused_by_name(words, make):
    with pytest.raises(dp.InputError, match=words):
        make()


# Periodic domains ----------------------------------------------------------------------------------------------------


class Blob(Shape):
    """A shape of a user's own class, which has no middle."""

    center: jax.Array

    def distance(self, points):
        x, y = (point - self.center[axis] for axis, point in enumerate(points))
        return jnp.sqrt(x**2 + 2 * y**2) - 0.17


def periodic_shapes(place):
    """Shapes of every kind around a place, one wider than half a period, one reaching from a side to the other."""
    one, other = place - np.array((0.2, 0.1)), place + np.array((0.17, 0.13))
    rod = dp.Box(place - np.array((0.45, 0.03)), place + np.array((0.45, 0.03)))
    disk = dp.Sphere(place, 0.2)
    return dict(
        disk=disk,
        box=dp.Box(one, other),
        wide=dp.Box(one - 0.2, other + np.array((0.3, 0.0))),
        slab=dp.Box(jnp.stack([one[0], -jnp.inf]), jnp.stack([other[0], jnp.inf])),
        rod=rod.rotated(0.5, place),
        cross=(rod | rod.rotated(np.pi / 2, place)).rotated(0.3, place + 0.1),
        ring=disk & ~dp.Sphere(place + 0.03, 0.1),
        half=disk & dp.Box(jnp.stack([place[0] + 0.03, -jnp.inf]), jnp.array((jnp.inf, jnp.inf))),
        around=(~(disk | dp.Box(one, other).translated((0.3, 0.05)))).rotated(0.4, place),
        turned_twice=dp.Box(one, other).rotated(0.4, place + 0.05).rotated(0.3, place),
        blob=Blob(jnp.asarray(place)),
        turned_blob=Blob(jnp.asarray(place)).rotated(0.5, place),
    )


@pytest.mark.parametrize(
    ("periodic", "chosen"),
    [
        ((True, True), ("disk", "cross", "around", "turned_blob")),
        pytest.param((True, True), None, marks=pytest.mark.slow),
        pytest.param((True, False), None, marks=pytest.mark.slow),
    ],
)
def test_on_a_periodic_domain_no_place_is_special(periodic, chosen):
    """A displacement by whole cells displaces cells, fractions, apertures and coverage, and their sums stay. A shape
    that crosses no side is as it is without images (which is compared among the slow).
    """
    grid, place = dp.Grid((16, 12), (1.0, 0.75)), np.array((0.53, 0.37))
    periods = [length if wraps else None for length, wraps in zip(grid.size, periodic, strict=True)]

    def measure(place, wraps, periods):
        return {
            name: [
                shape.repeated(periods).contains(grid.centers()) + 0.0,
                shape.volume_fractions(grid, wraps),
                shape.coverage(grid, wraps),
                shape.apertures(grid, 0, wraps)[:16],
                shape.apertures(grid, 1, wraps)[:, :12],
            ]
            for name, shape in periodic_shapes(place).items()
            if chosen is None or name in chosen
        }

    on_domain = jax.jit(lambda place: measure(place, periodic, periods))
    here = on_domain(place)
    if periodic == (True, False):
        plain = jax.jit(lambda place: measure(place, (False, False), (None, None)))(place)
        for name in set(here) - {"wide", "cross"}:
            for one, other in zip(here[name], plain[name], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-13, err_msg=name)
    for cells in [(8, 0), (-7, 0)] + [(5, 5), (-9, 7)] * periodic[1]:
        there = on_domain(place + np.array(cells) / 16)
        for name, parts in there.items():
            for one, other in zip(here[name], parts, strict=True):
                np.testing.assert_allclose(other, np.roll(one, cells, (0, 1)), atol=1e-11, err_msg=f"{name} {cells}")


def test_a_body_many_periods_on_is_that_of_the_first():
    grid = dp.Grid((8, 8))
    near, far = dp.Box((1.3, 6.2), (3.4, 9.1)).rotated(0.2, (2.0, 7.0)), np.array((8 * 31.0, -8 * 17.0))
    np.testing.assert_allclose(
        near.translated(far).volume_fractions(grid, True), near.volume_fractions(grid, True), atol=1e-11
    )
    disk = dp.Sphere((0.0, 0.5), 0.2).repeated((1.0, None))
    assert int(disk.contains(dp.Grid((16, 16), (1.0, 1.0)).centers()).sum()) == 32


def test_a_repeated_shape_that_does_not_fit_is_refused():
    with pytest.raises(dp.InputError, match="periods has 1 entries"):
        dp.Sphere((0.0, 0.0), 1.0).repeated((4.0,)).contains([jnp.zeros(2)] * 2)
    with pytest.raises(dp.InputError, match="periodic has 3 entries"):
        dp.Sphere((0.0, 0.0), 1.0).coverage(dp.Grid((3, 3)), (True, True, False))
