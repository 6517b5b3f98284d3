"""Corrections by constrained least squares: against the dense system of Karush, Kuhn and Tucker, and in a study."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp
from diffphys.cli import main
from diffphys.experiments import buoyancy
from diffphys.experiments.forced_advection_diffusion import Settings, forced_study
from diffphys.grids import Field
from diffphys.learning import with_parameters
from diffphys.learning.study import Fit, Study, fitted_corrections
from diffphys.learning.study.least_squares import along_all, fit_correction, prepare
from diffphys.operators import divergence
from diffphys.runs import Run
from diffphys.stepping import rollout


SIDES = dict(x=(dp.Inflow(1.0), dp.Outflow()), y=dp.Periodic())


def faces(cells, seed: int) -> tuple[Field, ...]:
    """Random values on the faces of a channel whose other axis is periodic."""
    flow = dp.IncompressibleFlow(dp.Grid(cells, (3.0, 2.0)), 0.01, 0.1, SIDES)
    generator = np.random.default_rng(seed)
    return tuple(
        part.with_values(jnp.asarray(generator.standard_normal(part.shape))) for part in flow.initial_state().velocity
    )


def values_of(fields) -> list[jax.Array]:
    return [field.values for field in fields]


def values_of_frame(study: Study, frames, index: int):
    return {name: frames[name][index] for name in study.names}


def misses(coarse, frame, fine) -> list[float]:
    """For each of the fine fields the sum of squares of what is left to it from a frame, interpolated."""
    parts = prepare(Fit(lambda state: state, 1.0), coarse[: len(fine)], fine).components
    return [
        float(jnp.sum((along_all(part.matrices, values) - true.values) ** 2))
        for part, values, true in zip(parts, frame.values(), fine, strict=False)
    ]


def interpolation(coarse: Field, fine: Field, margin: int) -> np.ndarray:
    """Bilinear weights, entry by entry; zero for points within a margin of the bounded ends."""
    matrix = np.zeros((fine.values.size, coarse.values.size))
    shape, length = coarse.shape, np.array(coarse.grid.spacing)
    lines = [np.asarray(line).reshape(-1) for line in fine.coordinates()]
    for row, place in enumerate(np.ndindex(fine.shape)):
        point = np.array([line[index] for line, index in zip(lines, place, strict=True)])
        if not margin * length[0] - 1e-9 <= point[0] <= 3.0 - margin * length[0] + 1e-9:
            continue
        low = np.floor(point / length - np.array(coarse.offset) + 1e-12).astype(int)
        share = point / length - np.array(coarse.offset) - low
        for corner in np.ndindex(2, 2):
            weight = np.prod(np.where(corner, share, 1 - share))
            x = min(max(low[0] + corner[0], 0), shape[0] - 1)
            matrix[row, np.ravel_multi_index((x, (low[1] + corner[1]) % shape[1]), shape)] += weight
    return matrix


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("margin, divergence_free", [(1, True), (0, False)])
def test_the_correction_solves_the_dense_problem(margin, divergence_free):
    coarse, fine = faces((6, 4), 0), faces((12, 8), 1)
    fit = Fit(lambda state: state, weight=0.3, divergence_free=divergence_free, margin=margin)
    found = fit_correction(prepare(fit, coarse, fine), values_of(fine), coarse)

    def joined(parts) -> np.ndarray:
        return np.concatenate([np.asarray(part).reshape(-1) for part in parts])

    blocks = [interpolation(*pair, margin) for pair in zip(coarse, fine, strict=True)]
    matrix = np.zeros((sum(one.shape[0] for one in blocks), sum(one.shape[1] for one in blocks)))
    matrix[: blocks[0].shape[0], : blocks[0].shape[1]] = blocks[0]
    matrix[blocks[0].shape[0] :, blocks[0].shape[1] :] = blocks[1]
    normal = matrix.T @ matrix + 0.6 * np.eye(matrix.shape[1])
    wanted = matrix.T @ joined(values_of(fine)) + 0.6 * joined(values_of(coarse))
    constraint = np.zeros((0, matrix.shape[1]))
    if divergence_free:
        dx, dy = coarse[0].grid.spacing
        constraint = np.zeros((24, matrix.shape[1]))
        for row, (i, j) in enumerate(np.ndindex(6, 4)):
            constraint[row, [4 * (i + 1) + j, 4 * i + j]] = [1 / dx, -1 / dx]
            constraint[row, [28 + 4 * i + (j + 1) % 4, 28 + 4 * i + j]] += [1 / dy, -1 / dy]
    empty = np.zeros((len(constraint),) * 2)
    system = np.block([[normal, constraint.T], [constraint, empty]])
    expected = np.linalg.solve(system, np.concatenate([wanted, np.zeros(len(constraint))]))[: matrix.shape[1]]
    np.testing.assert_allclose(joined(found), expected, atol=1e-9)
    if divergence_free:
        left = divergence([field.with_values(part) for field, part in zip(coarse, found, strict=True)])
        assert float(jnp.max(jnp.abs(left.values))) < 1e-9


@pytest.mark.usefixtures("float64")
def test_a_scalar_beside_the_velocity_is_fitted_by_itself_and_without_constraint():
    coarse, fine = faces((6, 4), 0), faces((12, 8), 1)
    generator = np.random.default_rng(2)
    # It sits on the faces of the first axis, so that its weights are known by what is written above.
    scalars = [one[0].with_values(jnp.asarray(generator.standard_normal(one[0].shape))) for one in (coarse, fine)]
    fit = Fit(lambda state: state, weight=0.3, divergence_free=True, margin=1)
    alone = fit_correction(prepare(fit, coarse, fine), values_of(fine), coarse)
    both = (*coarse, scalars[0]), (*fine, scalars[1])
    found = fit_correction(prepare(fit, *both), values_of(both[1]), both[0])
    for one, other in zip(found, alone, strict=False):
        np.testing.assert_allclose(one, other, atol=1e-12)
    matrix = interpolation(scalars[0], scalars[1], 1)
    given, before = (np.asarray(field.values).reshape(-1) for field in scalars[::-1])
    normal = matrix.T @ matrix + 0.6 * np.eye(matrix.shape[1])
    expected = np.linalg.solve(normal, matrix.T @ given + 0.6 * before)
    assert len(found) == 3
    np.testing.assert_allclose(found[2].reshape(-1), expected, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_nothing_crosses_the_walls_of_a_closed_box():
    """The dense problem with a row of the constraint for each face on a wall."""
    parts = []
    for seed, factor in enumerate((1, 2)):
        flow = dp.IncompressibleFlow(dp.Grid((5 * factor, 4 * factor), (3.0, 2.0)), 0.01, 0.1, dp.Wall(slip=True))
        generator = np.random.default_rng(seed)
        empty = flow.initial_state().velocity
        parts.append([part.with_values(jnp.asarray(generator.standard_normal(part.shape))) for part in empty])
    coarse, fine = parts
    still = [part * 0.0 for part in coarse]
    fit = Fit(lambda state: state, weight=0.3, divergence_free=True, margin=0, closed=True)
    found = fit_correction(prepare(fit, coarse, fine), values_of(fine), still)

    blocks = []
    for one, other in zip(coarse, fine, strict=True):
        lines = [[np.asarray(line).reshape(-1) for line in field.coordinates()] for field in (other, one)]
        along = [
            np.stack([np.interp(points, xs, unit) for unit in np.eye(len(xs))], 1)
            for points, xs in zip(*lines, strict=True)
        ]
        blocks.append(np.kron(*along))
    given = [np.asarray(part).reshape(-1) for part in values_of(fine)]
    sizes = [block.shape[1] for block in blocks]
    normal = np.zeros((sum(sizes), sum(sizes)))
    normal[: sizes[0], : sizes[0]] = blocks[0].T @ blocks[0]
    normal[sizes[0] :, sizes[0] :] = blocks[1].T @ blocks[1]
    wanted = np.concatenate([block.T @ part for block, part in zip(blocks, given, strict=True)])
    across, up = np.arange(24).reshape(6, 4), 24 + np.arange(25).reshape(5, 5)
    rows = []
    for i, j in np.ndindex(5, 4):
        row = np.zeros(sum(sizes))
        row[[across[i + 1, j], across[i, j]]] = [1 / 0.6, -1 / 0.6]
        row[[up[i, j + 1], up[i, j]]] = [1 / 0.5, -1 / 0.5]
        rows.append(row)
    walls = np.concatenate([across[[0, -1]].reshape(-1), up[:, [0, -1]].reshape(-1)])
    rows = np.concatenate([rows, np.eye(sum(sizes))[walls]])
    empty = np.zeros((len(rows),) * 2)
    system = np.block([[normal + 0.6 * np.eye(sum(sizes)), rows.T], [rows, empty]])
    right = np.concatenate([wanted, np.zeros(len(rows))])
    expected = np.linalg.lstsq(system, right, rcond=1e-12)[0][: sum(sizes)]  # walls and cells say one thing twice
    np.testing.assert_allclose(np.concatenate([np.asarray(part).reshape(-1) for part in found]), expected, atol=1e-9)
    assert np.all(np.asarray(found[0])[[0, -1]] == 0) and np.all(np.asarray(found[1])[:, [0, -1]] == 0)


@pytest.mark.usefixtures("float64")
def test_what_a_coarse_field_without_divergence_lacks_is_found_again():
    coarse, fine = faces((8, 4), 2), faces((16, 8), 3)
    grid = coarse[0].grid
    x, y = grid.coordinates((0.0, 0.0), periodic=(False, True))
    stream = jnp.sin(2 * x) * jnp.cos(np.pi * y) + 0.3 * x**2
    hidden = [
        coarse[0].with_values((jnp.roll(stream, -1, 1) - stream) / grid.spacing[1]),
        coarse[1].with_values(-jnp.diff(stream, axis=0) / grid.spacing[0]),
    ]
    assert float(jnp.max(jnp.abs(divergence(hidden).values))) < 1e-12
    fitted = prepare(Fit(lambda state: state, weight=1e-9, divergence_free=True, margin=0), coarse, fine)
    lacking = [along_all(one.matrices, part.values) for one, part in zip(fitted.components, hidden, strict=True)]
    still = [field * 0.0 for field in coarse]
    for part, known in zip(fit_correction(fitted, lacking, still), hidden, strict=True):
        np.testing.assert_allclose(part, known.values, atol=1e-6)


def test_frames_and_what_the_source_makes_of_them_belong_together(tmp_path):
    short = {"warmup": 3, "train_frames": 6, "unroll": (1,), "updates": (1,), "learning_rates": (1e-3,)}
    settings = Settings(resolution=16, scale=2, train_seeds=(1, 2), **short)
    study = forced_study(settings)
    with Run.open(tmp_path, "forced-advection-diffusion", "demo", settings, 0) as run:
        data = fitted_corrections(study, settings, run)
        again = fitted_corrections(study, settings, run)
    assert data.cases == 2 and data.length == 6
    for one, other in zip(jax.tree.leaves(data.frames), jax.tree.leaves(again.frames), strict=True):
        np.testing.assert_array_equal(one, other)
    frames, numbers = data.case(1)
    source, reference = (with_parameters(step, numbers) for step in (study.source, study.reference))
    np.testing.assert_allclose(frames["time"], 0.3 + 0.1 * np.arange(6), rtol=1e-5)
    np.testing.assert_allclose(frames["before time"][:-1], frames["time"][1:], rtol=1e-5)
    step = jax.jit(lambda frame: study.observe(source(study.state(frame))))
    for index in (0, 3):
        alone = step(jax.tree.map(lambda leaf, index=index: leaf[index], frames))
        np.testing.assert_allclose(frames["before velocity_x"][index], alone["velocity_x"], atol=1e-5)

    # Interpolated, what is corrected lies nearer to the reference than what is not.
    ready, _ = rollout(reference, study.begin(reference), 3)
    truth, _ = rollout(reference, ready, 5)
    start = {name: frames[name][0] for name in (*study.names, "time")}
    last, _ = rollout(source, study.state(start), 5)
    fields = study.fields(study.state(start))
    left = [misses(fields, one, truth.velocity) for one in (values_of_frame(study, frames, -1), study.observe(last))]
    assert sum(left[0]) < 0.7 * sum(left[1]), left


@pytest.mark.parametrize("corrects", ["velocity", "everything"])
def test_of_smoke_the_velocity_alone_is_fitted_or_all(tmp_path, corrects):
    short = {"warmup": 8, "train_frames": 9, "unroll": (1,), "updates": (1,), "learning_rates": (1e-3,)}
    settings = buoyancy.Settings(resolution=16, scale=2, train_seeds=(1,), corrects=corrects, **short)
    study = buoyancy.buoyancy_study(settings)
    with Run.open(tmp_path, "buoyancy", "demo", settings, 0) as run:
        frames, numbers = fitted_corrections(study, settings, run).case(0)
    reference = with_parameters(study.reference, numbers)
    ready, _ = rollout(reference, study.begin(reference), 8)
    truth, _ = rollout(reference, ready, 8)
    start = study.state(study.transfer(ready))
    plain, _ = rollout(study.source, start, 8)
    fields = study.fields(start)
    left = [
        misses(fields, one, buoyancy.fields(truth))
        for one in (values_of_frame(study, frames, -1), study.observe(plain))
    ]
    assert left[0][0] < 0.7 * left[1][0] and left[0][1] < 0.7 * left[1][1], left
    # What the step has made of the smoke stands in the next frame, or is corrected there, too.
    corrected = np.asarray(frames["smoke"][1:] - frames["before smoke"][:-1])
    if corrects == "velocity":
        assert np.all(corrected == 0)
    else:
        assert left[0][2] < 0.8 * left[1][2], left
    for index in (1, 8):
        found = study.state(values_of_frame(study, frames, index)).velocity
        assert float(jnp.max(jnp.abs(divergence(found).values))) < 1e-5


@pytest.mark.usefixtures("unchecked_types")
def test_an_experiment_without_a_fit_refuses_the_arm_in_a_sentence(capsys, tmp_path):
    assert main(["run", "burgers", "--out", str(tmp_path / "run"), "--set", "arms=least-squares"]) == 2
    assert "arms: the burgers experiment has no least-squares" in capsys.readouterr().err


WAKE = "resolution=16 scale=2 train_reynolds=200,400 test_reynolds=300"


@pytest.mark.slow
@pytest.mark.parametrize(
    "program, more, case",
    [
        ("wake", WAKE, "reynolds-200"),
        ("wake-3d", WAKE.replace("16", "8"), "reynolds-200"),
        ("three-cylinders", "resolution=3 scale=2 substeps=2 train_seeds=1,2 test_seeds=101", "layouts-1"),
        ("buoyancy", "resolution=16 scale=2 train_seeds=1,2 test_seeds=101 corrects=velocity", "seeds-1"),
    ],
)
def test_scenarios_learn_from_fitted_corrections(tmp_path, program, more, case):
    settings = f"""{more} warmup=12 train_frames=8 frames=4 features=4 unroll=1 updates=3 learning_rates=1e-3
        arms=least-squares"""
    words = [word for text in settings.split() for word in ("--set", text)]
    assert main(["run", program, "--preset", "book", "--out", str(tmp_path / "run"), *words, "--set", "finer=0"]) == 0
    assert (tmp_path / "run" / "data" / f"least-squares-{case}.zarr").is_dir()
