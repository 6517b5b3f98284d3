r"""Drift-wave turbulence at the edge of a plasma: a network stands for the scales that a coarse grid lacks.

The reference is `HasegawaWakatani` at $c_1 = 1$ in a box of $2 \pi / 0.15$ with Arakawa's bracket and Runge-Kutta 4.
The source is the same system on a grid `scale` times coarser, with longer steps whose stiff part is implicit and a
hyperviscosity scaled with the spacing. Its smallest waves are those that grow fastest in the reference: its fluxes are
wrong. A residual network that sees density, vorticity and potential gives the fluxes that the missing scales carry,
whose divergence is added after each step. It is trained in the loop, on the difference to the reference averaged over
the coarse cells, and on the statistics of each frame: fluxes, energy, enstrophy, spectrum. The arm "ongoing" goes on
from there with runs of its own, on the averages of an ensemble (`learning.ongoing`).

Turbulence is chaotic: what counts are averages over a time much longer than a trajectory can be followed. An ensemble
of coarse runs is followed for that time and compared with the reference averaged over the coarse cells; beside the
trained arms stand sources with several hyperviscosities.

R. Greif, F. Jenko, N. Thuerey: Physics-Preserving AI-Accelerated Simulations of Plasma Turbulence (arXiv 2309.16400).
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from rich.table import Table

from diffphys import plots
from diffphys.errors import InputError
from diffphys.experiments.studies import Draw, Frames, draw_moments, draw_moving, report_study, study_program
from diffphys.grids import Grid
from diffphys.learning import half_sum_of_squares, mean_absolute_error
from diffphys.learning.ongoing import Ongoing, OngoingProgress, begin_ongoing, train_ongoing
from diffphys.learning.study import (
    Seeded,
    Study,
    StudySettings,
    evaluate,
    load_cases,
    load_network,
    means,
    named,
    run_study,
    save_evaluation,
    seeded_cases,
    stages,
)
from diffphys.nets import ResNet, count_parameters
from diffphys.operators import Arakawa, coarsen
from diffphys.physics import HasegawaWakatani, PlasmaBudget, PlasmaState
from diffphys.runs import Run, setting
from diffphys.scenarios import drift_wave_noise, plasma_turbulence
from diffphys.stepping import ImplicitExplicit, rollout


JUDGED = ("particle_flux", "energy", "enstrophy")


@dataclass(frozen=True)
class Settings(StudySettings):
    """Settings of the plasma experiment; the presets give the lengths of data and training."""

    resolution: int = setting(32, help="cells along each axis of the source", minimum=8)
    scale: int = setting(8, help="how many times finer the reference is", minimum=1)
    dt: float = setting(0.2, help="duration of a step of the source", above=0.0)
    reference_dt: float = setting(0.05, help="duration of a step of the reference", above=0.0)
    train_seeds: tuple[int, ...] = setting((1, 2, 3), help="the noise that the training cases grow from", minimum=0)
    test_seeds: tuple[int, ...] = setting(
        (101,), help="the noise that the test cases grow from", minimum=0, distinct=True
    )
    statistics: float = setting(1.0, help="weight of the statistics of a frame in the loss", minimum=0.0)
    ongoing_updates: int = setting(
        0, help="updates of the arm ongoing, which goes on from unrolled; 0 for none", minimum=0
    )
    ongoing_members: int = setting(12, help="runs in the ensemble that it is trained with", minimum=4)
    ongoing_unroll: int = setting(16, help="steps through which the gradient of its averages passes", minimum=4)
    ongoing_rate: float = setting(1e-4, help="Adam's largest rate there", above=0.0)
    settling: float = setting(50.0, help="time that the ensemble runs before its averages begin", minimum=0.0)
    averaging_time: float = setting(700.0, help="time over which averages are taken", minimum=20.0)
    members: int = setting(8, help="runs in the ensemble", minimum=2)
    hyperviscosities: tuple[float, ...] = setting(
        (0.1, 0.3, 1.0, 3.0, 10.0), help="hyperviscosities that are tried, over the source's own", above=0.0
    )

    def __post_init__(self):
        """Refuse what one setting alone cannot tell."""
        super().__post_init__()
        if self.ongoing_updates and ("unrolled" not in self.arms or self.weights):
            raise InputError("ongoing_updates: the arm ongoing goes on from unrolled; arms with that are accepted.")
        if self.ongoing_updates and self.ongoing_unroll >= self.train_frames:
            raise InputError(f"ongoing_unroll is {self.ongoing_unroll}; less than train_frames is accepted.")


PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "arms": ("one-step", "unrolled"),
        "scale": 4,
        "warmup": 3000,
        "train_frames": 200,
        "frames": 100,
        "train_seeds": (1, 2),
        "features": 16,
        **stages((1, 200, 4e-3), (4, 200, 4e-3), (16, 200, 2e-3)),
        "averaging_time": 150.0,
        "settling": 30.0,
    },
    "book": {
        "arms": ("supervised", "one-step", "unrolled"),
        "warmup": 5000,
        "train_frames": 3500,  # energy fluctuates over times of 50, so that 1000 would show less of it
        "frames": 150,
        "test_seeds": (101, 102, 103, 104, 105, 106, 107, 108),
        "features": 16,
        **stages((1, 400, 4e-3), (4, 400, 4e-3), (16, 300, 2e-3), (32, 150, 1e-3)),
        "ongoing_updates": 400,
        "ongoing_rate": 4e-5,
        "hyperviscosities": (0.3, 3.0),
    },
    "paper": {
        "arms": ("supervised", "one-step", "detached", "unrolled"),
        "resolution": 64,
        "dt": 0.1,
        "reference_dt": 0.025,
        "warmup": 12000,
        "train_frames": 2000,
        "frames": 500,
        "train_seeds": (1, 2, 3, 4, 5, 6),
        "test_seeds": (101, 102),
        "features": 32,
        "unroll": (1, 4, 8, 16, 32),
        "updates": (2000, 2000, 1500, 1000, 1000),
        "ongoing_updates": 2000,
        "ongoing_rate": 4e-5,
    },
}


class SubGridModel(eqx.Module):
    """What missing scales carry: a network gives the flux of density and vorticity through each face.

    Missing eddies only move what is there, so the change is a divergence: it keeps the means, and forces a wave the
    less the longer it is. (A network that changes both fields at will slowly fills the longest waves, of which it sees
    nothing within the steps it is trained over.)

    Args:
        network: From density, vorticity and potential, each (*cells), to the two fluxes along x and the two along y.
        grid: For the potential, which depends on the vorticity everywhere.
    """

    network: ResNet
    grid: Grid = eqx.field(static=True)

    def __call__(self, image: Array) -> Array:
        laplacian = Arakawa().symbols(self.grid).laplacian
        inverse = jnp.asarray(np.where(laplacian > 0, -1 / np.where(laplacian > 0, laplacian, 1.0), 0.0), image.dtype)
        # In units of the sound radius, 1 in all of these, potential and vorticity are of about one size.
        potential = jnp.fft.irfft2(inverse * jnp.fft.rfft2(image[1]), self.grid.cells)
        fluxes = self.network(jnp.stack([*image, potential]))
        along_x, along_y = fluxes[:2], fluxes[2:]
        return along_x - jnp.roll(along_x, 1, axis=1) + along_y - jnp.roll(along_y, 1, axis=2)


class Statistics(NamedTuple):
    """Of one state.

    Attributes:
        budget: Energy, enstrophy, and what changes them.
        spectrum: Energy in shells of wavenumbers, in units of the box's smallest.
    """

    budget: PlasmaBudget
    spectrum: Array


def statistics(solver: HasegawaWakatani, state: PlasmaState) -> Statistics:
    """The budget and the spectrum of the energy of a state of the source."""
    found = shells(solver, state)
    return Statistics(solver.budget(state), (found.density + found.potential)[:-1])


class Shells(NamedTuple):
    """What shells of wavenumbers hold, in units of the box's smallest, the last one with all that lies beyond; the sum
    of each over the shells is that of the state.

    Attributes:
        density: Energy of the density.
        potential: Energy of the flow.
        flux: Particle flux.
        enstrophy: Enstrophy.
    """

    density: Array
    potential: Array
    flux: Array
    enstrophy: Array


def shells(solver: HasegawaWakatani, state: PlasmaState) -> Shells:
    """Energies, flux and enstrophy of a state by wavenumber."""
    nx, ny = solver.grid.cells
    numbers = np.hypot(np.fft.fftfreq(nx, 1 / nx)[:, None], np.fft.fftfreq(ny, 1 / ny)[None, :])
    last = min(nx, ny) // 2
    shell = np.minimum(np.rint(numbers).astype(int), last)
    n, vorticity, phi = (
        jnp.fft.fft2(field.values) / (nx * ny) for field in (state.density, state.vorticity, solver.potential(state))
    )
    along_y = solver.bracket.symbols(solver.grid).y  # of the half of the coefficients that a real transform keeps
    slope = jnp.fft.fft2(jnp.fft.irfft2(1j * along_y * phi[:, : ny // 2 + 1], (nx, ny)))
    parts = (
        jnp.abs(n) ** 2 / 2,
        -(phi * jnp.conj(vorticity)).real / 2,
        -(jnp.conj(n) * slope).real,
        jnp.abs(n - vorticity) ** 2 / 2,
    )
    return Shells(*(jnp.zeros(last + 1, part.dtype).at[shell].add(part)[1:] for part in parts))


def plasma_study(settings: Settings) -> Study:
    """What the experiment compares."""
    source = Seeded(plasma_turbulence(settings.resolution, settings.dt, ImplicitExplicit(3)))
    reference = Seeded(plasma_turbulence(settings.resolution * settings.scale, settings.reference_dt))
    solver = source.solver

    def state(frame: Mapping[str, Array]) -> PlasmaState:
        empty = solver.initial_state()
        return PlasmaState(empty.density.with_values(frame["density"]), empty.vorticity.with_values(frame["vorticity"]))

    def make_network(features: int, key: Array) -> SubGridModel:
        network = ResNet(3, 4, features=features, blocks=3, kernel_size=3, padding="periodic", key=key)
        return SubGridModel(network, solver.grid)

    def further_loss(prediction: Mapping[str, Array], target: Mapping[str, Array]) -> Array:
        return (
            settings.statistics
            * settings.resolution**2
            * difference_of_statistics(statistics(solver, state(prediction)), statistics(solver, state(target)))
        )

    return Study(
        name="plasma",
        **seeded_cases(settings),
        reference=reference,
        source=source,
        grid=solver.grid,
        begin=lambda system: drift_wave_noise(system.solver, system.key),
        transfer=lambda state: {
            "density": coarsen(state.density, settings.scale).values,
            "vorticity": coarsen(state.vorticity, settings.scale).values,
        },
        state=state,
        names=("density", "vorticity"),
        fields=lambda state: (state.density, state.vorticity),
        make_network=make_network,
        architecture={"features": settings.features},
        parameters=lambda seed: {"seed": seed},
        identity=named(settings, "resolution", "scale", "dt", "reference_dt"),
        steps_per_frame=round(settings.dt / settings.reference_dt),
        metrics={"mae": mean_absolute_error},
        further_loss=further_loss if settings.statistics else None,
        advice="a smaller reference_dt may be accepted",
    )


def difference_of_statistics(found: Statistics, exact: Statistics) -> Array:
    """Squares of the relative differences of fluxes, energy and enstrophy, and of the logarithms of the spectrum."""
    names = ("energy", "enstrophy", "particle_flux", "resistive_loss")
    scales = (exact.budget.energy, exact.budget.enstrophy, exact.budget.energy / 5, exact.budget.energy / 5)
    parts = [
        ((getattr(found.budget, name) - getattr(exact.budget, name)) / scale) ** 2
        for name, scale in zip(names, scales, strict=True)
    ]
    logarithms = [jnp.log(one.spectrum + 1e-6) for one in (found, exact)]
    return sum(parts, jnp.zeros(())) + jnp.mean((logarithms[0] - logarithms[1]) ** 2)


# Training on the averages of runs that go on by themselves ------------------------------------------------------------


class Averages(NamedTuple):
    """Of an ensemble or of reference runs, over members and time.

    Attributes:
        means: Of flux, energy and enstrophy.
        fluctuations: Their standard deviations.
        shells: By wavenumber.
    """

    means: Array
    fluctuations: Array
    shells: Shells


def averages_of(found: Shells) -> Averages:
    """Those of shells with leading axes (members, times)."""
    totals = judged(found)
    shells = Shells(*(jnp.mean(part, (0, 1)) for part in found))
    return Averages(jnp.mean(totals, (0, 1)), jnp.std(totals, (0, 1)), shells)


def difference_of_averages(found: Averages, exact: Averages) -> Array:
    """Squares of the relative errors of means and of fluctuations, and mean squares of the logarithms of both spectra
    of energy and of the relative difference of the flux's.

    Means that are 5 % off count as much as a spectrum that is 16 % off or a fluctuation that is 27 % off.
    """
    of_means = jnp.sum((found.means / exact.means - 1) ** 2)
    of_fluctuations = jnp.sum((found.fluctuations / exact.fluctuations - 1) ** 2)
    here, there = found.shells, exact.shells
    spectra = sum(
        jnp.mean(jnp.log((one + 1e-6) / (other + 1e-6))[:-1] ** 2)
        for one, other in ((here.density, there.density), (here.potential, there.potential))
    )
    of_flux = jnp.sum((here.flux - there.flux) ** 2) / jnp.sum(there.flux**2)
    return 30 * of_means + of_fluctuations + 3 * (spectra + of_flux)


def judged(found: Shells) -> Array:
    """Flux, energy and enstrophy of states, on a last axis."""
    parts = (found.flux, found.density + found.potential, found.enstrophy)
    return jnp.stack([jnp.sum(part, -1) for part in parts], -1)


def train_ongoing_arm(study: Study, settings: Settings, run: Run) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """From the arm unrolled on; in the form of `train_arm`."""
    solver, path = study.source.solver, run.checkpoint_path("network-unrolled")
    network, normalization = load_network(study, str(path))
    step = study.corrected(network, normalization)
    frames = load_cases(study, settings, run, study.train_cases, settings.train_frames).frames
    scales = dict(zip(study.names, normalization.fields, strict=True))
    every = min(4, settings.ongoing_unroll)

    @jax.jit
    def reference_shells(frames: Mapping[str, Array]) -> Shells:
        of_case = partial(jax.lax.map, lambda frame: shells(solver, study.state(frame)))
        return jax.lax.map(of_case, {name: frames[name] for name in study.names})

    exact = averages_of(reference_shells(frames))
    flat = {name: frames[name].reshape(-1, *frames[name].shape[2:]) for name in study.names}

    def of_windows(step: Any, frames: Mapping[str, Array], key: Array) -> Array:
        """Of some windows of the data the squares of part of the fields, as in training, per cell and field."""
        for_cases, for_firsts = jax.random.split(key)
        cases = jax.random.randint(for_cases, (settings.batch,), 0, len(study.train_cases))
        last = settings.train_frames - settings.ongoing_unroll
        firsts = jax.random.randint(for_firsts, (settings.batch,), 0, last)

        def of_window(case: Array, first: Array) -> Array:
            window = {
                name: jax.lax.dynamic_slice_in_dim(frames[name][case], first, settings.ongoing_unroll + 1)
                for name in study.names
            }
            start = study.state({name: part[0] for name, part in window.items()})
            _, found = rollout(step, start, settings.ongoing_unroll, save_every=1, save=study.observe)
            after = {name: part[1:] for name, part in window.items()}
            count = sum(part.size for part in after.values())
            return half_sum_of_squares(found, after, scales) / count

        return jnp.mean(jax.vmap(of_window)(cases, firsts))

    schedule = optax.warmup_cosine_decay_schedule(
        0.05 * settings.ongoing_rate,
        settings.ongoing_rate,
        min(20, settings.ongoing_updates // 2),
        settings.ongoing_updates,
        settings.decay * settings.ongoing_rate,
    )
    problem = Ongoing(
        jax.vmap(study.state)(flat),
        lambda state: shells(solver, state),
        lambda found: difference_of_averages(averages_of(found), exact),
        lambda state: solver.budget(state).energy < 10 * exact.means[1],
        # The runs answer late to what the network has become: steps in proportion to the error, with little momentum,
        # do not swing around the averages that are asked for, as steps of one length do.
        optax.adam(schedule, b1=0.5, b2=0.999),
        beside=of_windows,
        data={name: frames[name] for name in study.names},
        members=settings.ongoing_members,
        unroll=settings.ongoing_unroll,
        every=every,
        spin_up=round(30 / settings.dt),
        averaging=0.99,
        seed=run.seed,
    )
    progress = begin_ongoing(step, problem, settings.ongoing_updates)
    spent = 0.0
    if run.has_checkpoint("training-ongoing"):
        progress = run.load_checkpoint("training-ongoing", progress)
        spent = run.checkpoint_metadata("training-ongoing")["seconds"]
    started = time.perf_counter()
    with run.progress("training ongoing", settings.ongoing_updates, int(progress.update)) as advance:

        def after_update(current: OngoingProgress, number: int, loss: float) -> None:
            advance(note=f"loss {loss:.3g}")
            if run.checkpoint_due(settings.checkpoint_seconds):
                seconds = spent + time.perf_counter() - started
                run.save_checkpoint("training-ongoing", current, {"seconds": seconds})
                run.leave_if_asked()

        trained, progress = train_ongoing(step, problem, settings.ongoing_updates, progress, after_update)
    seconds = spent + time.perf_counter() - started
    run.save_checkpoint("training-ongoing", progress, {"seconds": seconds})
    described = {**study.architecture, "study": study.name, "arm": "ongoing"}
    run.save_checkpoint("network-ongoing", (trained.network, normalization), described)
    learned = {
        "parameters": count_parameters(trained.network),
        "unroll": settings.ongoing_unroll,
        "updates": settings.ongoing_updates,
        "train_seconds": seconds,
        "seconds_per_update": seconds / settings.ongoing_updates,
        "runs_renewed": int(progress.renewed),
    }
    losses = {
        "losses": np.asarray(progress.losses),
        "unroll": np.full(settings.ongoing_updates, settings.ongoing_unroll),
    }
    return trained, learned, losses


# Averages of an ensemble ----------------------------------------------------------------------------------------------


@eqx.filter_jit
def ensemble(step: Any, solver: HasegawaWakatani, starts: PlasmaState, frames: int, every: int) -> Statistics:
    """The statistics of each member after every so many steps, (members, frames, ...)."""

    def member(start: PlasmaState) -> Statistics:
        return rollout(step, start, frames * every, save_every=every, save=lambda one: statistics(solver, one))[1]

    return jax.vmap(member)(starts)


def averages(found: Statistics, settled: int) -> dict[str, Any]:
    """The mean of each judged quantity, its fluctuation in time, and twice the standard error over the members."""
    result: dict[str, Any] = {}
    for name in JUDGED:
        series = np.asarray(getattr(found.budget, name))[:, settled:]
        means = series.mean(axis=1)
        result |= {
            name: float(means.mean()),
            f"{name}_interval": float(2 * means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else None,
            f"{name}_fluctuation": float(series.std(axis=1).mean()),
        }
    return result


def tried(settings: Settings) -> dict[str, float]:
    """The sources with other hyperviscosities, by name: how many times the source's own."""
    return {f"hyperviscosity x {factor:g}": factor for factor in settings.hyperviscosities}


def run(study: Study, settings: Settings, run: Run) -> None:
    """Generate the data, train each arm, test it, follow the ensembles, write metrics."""
    run_study(study, settings, run)
    metrics, solver = run.read_metrics(), study.source.solver
    trained = [arm for arm in settings.arms if arm != "none"]
    if settings.ongoing_updates:
        step, learned, losses = train_ongoing_arm(study, settings, run)
        run.leave_if_asked()
        found = evaluate(study, step, load_cases(study, settings, run, study.test_cases, settings.frames + 1))
        metrics["arms"]["ongoing"] = {**means(study, found), **learned}
        save_evaluation(study, run, "ongoing", found, losses, settings.frames)
        trained.append("ongoing")
    every = max(1, round(1.0 / settings.dt))  # steps between two values of the series, a time of about one
    frames = round((settings.settling + settings.averaging_time) / (every * settings.dt))
    starts = _starts(study, settings, run)

    _follow(run, "reference", lambda: _reference_statistics(study, settings, run, frames))
    steps: dict[str, Any] = {"source": study.source}
    for arm in trained:
        path = settings.weights or str(run.checkpoint_path(f"network-{arm}"))
        steps[arm] = study.corrected(*load_network(study, path))
    for name, factor in tried(settings).items():
        other = dataclasses.replace(solver, hyperviscosity=factor * solver.hyperviscosity)
        steps[name] = dataclasses.replace(study.source, solver=other)
    for name, step in steps.items():
        run.leave_if_asked()
        _follow(run, name, lambda step=step: ensemble(step, solver, starts, frames, every))

    of_all = {}
    for name in ("reference", *steps):
        series = _followed(run, name)
        found = averages(series, _settled(settings, frames))
        of_all[name] = {
            **found,
            **_errors(found, of_all.get("reference", found)),
            "stable_members": int(jnp.sum(jnp.all(jnp.isfinite(series.budget.energy), axis=1))),
            "statistics_seconds": run.checkpoint_metadata(_key(name))["seconds"],
        }
    run.write_metrics(metrics | {"averages": of_all})


def _errors(found: Mapping[str, Any], exact: Mapping[str, Any]) -> dict[str, float]:
    """The largest relative errors of the judged means and of their fluctuations."""

    def worst(names: list[str]) -> float:
        return float(np.max([abs(found[name] / exact[name] - 1) for name in names]))

    fluctuations = [f"{name}_fluctuation" for name in JUDGED]
    return {"error_of_means": worst(list(JUDGED)), "error_of_fluctuations": worst(fluctuations)}


def _settled(settings: Settings, frames: int) -> int:
    return round(frames * settings.settling / (settings.settling + settings.averaging_time))


def _starts(study: Study, settings: Settings, run: Run) -> PlasmaState:
    """Frames of the test cases, apart in time as far as they go, as the members' first states."""
    test = load_cases(study, settings, run, study.test_cases, settings.frames + 1).frames
    places = np.linspace(0, len(study.test_cases) * (settings.frames + 1) - 1, settings.members).round().astype(int)
    flat = {name: test[name].reshape(-1, *test[name].shape[2:])[places] for name in study.names}
    return jax.vmap(study.state)(flat)


def _reference_statistics(study: Study, settings: Settings, run: Run, frames: int) -> Statistics:
    """Those of the reference averaged over the coarse cells, from where the noise has become turbulence on, for each
    test case.
    """
    reference, solver = study.reference.solver, study.source.solver
    every = max(1, round(1.0 / settings.dt)) * study.steps_per_frame

    def save(state: PlasmaState) -> Statistics:
        return statistics(solver, study.state(study.transfer(state)))

    found = []
    for seed in settings.test_seeds:
        start, _ = rollout(reference, drift_wave_noise(reference, jax.random.key(seed)), settings.warmup)
        found.append(rollout(reference, start, frames * every, save_every=every, save=save)[1])
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)


def _follow(run: Run, name: str, compute: Callable[[], Statistics]) -> None:
    """Keep the statistics that `compute` gives, and the seconds it took, unless they are on disk."""
    key = _key(name)
    if not run.has_checkpoint(key):
        started = time.perf_counter()
        found = jax.block_until_ready(compute())
        shapes = [[list(leaf.shape), str(leaf.dtype)] for leaf in jax.tree.leaves(found)]
        run.save_checkpoint(key, found, {"shapes": shapes, "seconds": time.perf_counter() - started})


def _followed(run: Run, name: str) -> Statistics:
    """The statistics that were kept."""
    *budget, spectrum = (jnp.zeros(shape, dtype) for shape, dtype in run.checkpoint_metadata(_key(name))["shapes"])
    return run.load_checkpoint(_key(name), Statistics(PlasmaBudget(*budget), spectrum))


def _key(name: str) -> str:
    return f"statistics-{name.replace(' ', '-')}"


def report(study: Study, run: Run, draw: Draw, title: str) -> Table:
    """Figures and a table from what is on disk."""
    settings, metrics = run.settings, run.read_metrics()
    report_study(study, run, draw, title)
    best = tuned(metrics["averages"], tried(settings))
    names = [name for name in metrics["averages"] if name == best or name not in tried(settings)]
    found = {name: _followed(run, name) for name in names}
    every = max(1, round(1.0 / settings.dt)) * settings.dt
    longest = 2 * np.pi / study.grid.size[0]  # the wavenumber of the longest wave
    flux = {name: np.asarray(one.budget.particle_flux)[0] for name, one in found.items()}
    spectra = {}
    for name, one in found.items():
        settled = _settled(settings, one.spectrum.shape[1])
        spectra[name] = np.asarray(one.spectrum)[:, settled:].mean(axis=(0, 1))
    # Where next to nothing is left the line ends, so that the others can be told apart.
    left = {name: line > 0.1 * spectra["reference"] for name, line in spectra.items()}
    spectra = {name: np.where(left[name], line, np.nan) for name, line in spectra.items()}
    panels = [
        plots.Panel(
            lines={name: (every * np.arange(1, len(line) + 1), line) for name, line in flux.items()},
            title="the first member",
            x="time",
            y="particle flux",
        ),
        plots.Panel(
            lines={name: (longest * np.arange(1, len(line) + 1), line) for name, line in spectra.items()},
            title="averages over members and time",
            x="wavenumber",
            y="energy in a shell",
            logarithmic="y",
        ),
    ]
    run.save_figure("statistics.png", plots.panels_figure(panels))
    table = Table(title="Plasma: averages in the turbulent state, and fluctuations in time")
    table.add_column("arm")
    for heading in (*(name.replace("_", " ") for name in JUDGED), "error of means", "of fluctuations", "stable"):
        table.add_column(heading, justify="right")
    for name, arm in metrics["averages"].items():
        cells = [_with_interval(arm, key) for key in JUDGED]
        errors = [_percent(arm[key]) for key in ("error_of_means", "error_of_fluctuations")]
        table.add_row(name, *cells, *errors, f"{arm['stable_members']}")
    return table


def tuned(averages: Mapping[str, Mapping[str, Any]], names: Iterable[str]) -> str:
    """Of the sources of these names the one whose averages come closest to the reference's."""
    errors = {name: averages[name]["error_of_means"] for name in names}
    return min(errors, key=lambda name: np.inf if errors[name] is None else errors[name])


def _with_interval(arm: Mapping[str, Any], name: str) -> str:
    if arm[name] is None:
        return "not finite"
    interval = arm[f"{name}_interval"]
    around = "" if interval is None else f" ± {interval:.2g}"
    return f"{arm[name]:.3g}{around} ({arm[f'{name}_fluctuation']:.2g})"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def draw(run: Run, shown: Mapping[str, Frames]) -> None:
    """Vorticity and density of the first test case at three times, and over time."""
    settings = run.settings
    times = settings.dt * np.arange(1, settings.frames + 1)
    some = np.linspace(0, settings.frames - 1, 4).round().astype(int)[1:]
    size = plasma_study(settings).grid.size
    look: dict[str, Any] = {"at": "cells", "horizontal": 0}
    for name in ("vorticity", "density"):
        rows = {flow: frames[name] for flow, frames in shown.items()}
        draw_moments(run, f"{name}.png", rows, times, size, some, label=name, **look)
    rows = {flow: frames["vorticity"] for flow, frames in shown.items()}
    draw_moving(run, "vorticity.gif", rows, times, size, 2, label="vorticity", **look)


TITLE = "Plasma: mean absolute error of density and vorticity"
PROGRAM = study_program("plasma", Settings, PRESETS, plasma_study, draw, TITLE, run=run, report=report)
