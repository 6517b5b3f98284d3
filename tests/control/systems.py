"""Small systems whose best controls are known by other means."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import Array

from diffphys.control import ControlProblem, Force
from diffphys.grids.numbers import as_number


A = np.array([[1.0, 0.1], [-0.05, 0.98]])
B = np.array([[0.0], [0.1]])


class Linear(eqx.Module):
    """x -> A x + B u."""

    a: Array = eqx.field(converter=as_number, default_factory=lambda: A)
    b: Array = eqx.field(converter=as_number, default_factory=lambda: B)

    def __call__(self, state: Array, control: Array) -> Array:
        return self.a @ state + self.b @ control


class Quadratic(eqx.Module):
    """1/2 (x - x*)^T Q (x - x*)."""

    weight: Array = eqx.field(converter=as_number, default_factory=lambda: np.diag([3.0, 1.0]))

    def __call__(self, state: Array, *rest: Any) -> Array:
        difference = state - rest[-1]
        return 0.5 * difference @ self.weight @ difference


def linear_quadratic(steps: int = 8, **settings: Any) -> ControlProblem:
    """The linear system towards the origin, with quadratic costs."""
    settings = {
        "running_cost": Quadratic(),
        "terminal_cost": Quadratic(np.diag([40.0, 20.0])),
        "target": jnp.zeros(2),
        "regularizers": (Force(0.2),),
    } | settings
    return ControlProblem(Linear(), steps, jnp.zeros(1), **settings)


def as_least_squares(start: np.ndarray, steps: int, terminal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and right side whose least squares are `linear_quadratic` from `start`: J = 1/2 |M u - m|^2."""
    rows, right = [], []
    for k in range(1, steps + 1):
        weight = np.diag([3.0, 1.0]) + (terminal if k == steps else 0.0)
        root = np.linalg.cholesky(weight).T
        response = np.hstack([np.linalg.matrix_power(A, k - 1 - j) @ B if j < k else 0 * B for j in range(steps)])
        rows.append(root @ response)
        right.append(-root @ np.linalg.matrix_power(A, k) @ start)
    rows.append(np.sqrt(0.2) * np.eye(steps))
    right.append(np.zeros(steps))
    return np.vstack(rows), np.concatenate(right)


class Pendulum(eqx.Module):
    """A driven pendulum, symplectic Euler: nonlinear, so that its gradient depends on where it is."""

    dt: Array = eqx.field(converter=as_number, default=0.1)
    gravity: Array = eqx.field(converter=as_number, default=9.0)

    def __call__(self, state: dict[str, Array], control: Array) -> dict[str, Array]:
        speed = state["speed"] + self.dt * (control[0] - self.gravity * jnp.sin(state["angle"]))
        return {"angle": state["angle"] + self.dt * speed, "speed": speed}


def swing_up(steps: int = 6, **settings: Any) -> ControlProblem:
    """The pendulum towards an angle."""

    def distance(state: dict[str, Array], *rest: Any) -> Array:
        return (state["angle"] - rest[-1]) ** 2

    settings = {"running_cost": distance, "terminal_cost": distance, "target": jnp.asarray(1.0)} | settings
    return ControlProblem(Pendulum(), steps, jnp.zeros(1), **settings)


def hanging() -> dict[str, Array]:
    return {"angle": jnp.asarray(0.3), "speed": jnp.asarray(-0.2)}
