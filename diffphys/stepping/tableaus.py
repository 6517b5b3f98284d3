r"""Coefficients of Runge-Kutta methods: explicit ones, pairs of an explicit and an implicit one, exponential ones.

A pair takes one part of the right side explicitly and the other, stiff one implicitly, $y' = f(y) + g(y)$:

$$Y_i = y^n + \Delta t \sum_{j < i} a_{ij} f(Y_j) + \Delta t \sum_{j \le i} \tilde a_{ij}\, g(Y_j), \qquad
y^{n+1} = y^n + \Delta t \sum_j \big(b_j f(Y_j) + \tilde a_{sj}\, g(Y_j)\big).$$

All pairs here have $c_i = \sum_j a_{ij} = \sum_j \tilde a_{ij}$, so that what is steady stays steady; an explicit first
stage; one number $\gamma$ on the diagonal of all other stages; and an implicit method that is L-stable and whose last
stage is its result, so that what decays fast is gone, however long the step is.

An exponential method takes a linear part exactly, $y' = f(y) + \lambda y$; with $z = \lambda \Delta t$

$$Y_i = e^{c_i z} y^n + \Delta t \sum_{j < i} a_{ij}(z) f(Y_j), \qquad
y^{n+1} = e^z y^n + \Delta t \sum_j b_j(z) f(Y_j),$$

where each coefficient is a sum of $\varphi_k(c z)$ (see `phi`), so that with $\lambda = 0$ it is an explicit method.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Tableau(NamedTuple):
    """The coefficients of an explicit Runge-Kutta method, and how far its stability reaches on both axes."""

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    real_axis: float
    imaginary_axis: float


class AdditiveTableau(NamedTuple):
    """The coefficients of a pair; the rows of `implicit` end on the diagonal."""

    explicit: tuple[tuple[float, ...], ...]
    implicit: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]
    gamma: float


Combination = dict[tuple[int, float], float]
"""The sum of `weight * phi_k(c z)` as `{(k, c): weight}`."""


class ExponentialTableau(NamedTuple):
    """The coefficients of an exponential Runge-Kutta method, each as a function of `z`."""

    a: tuple[tuple[Combination, ...], ...]
    b: tuple[Combination, ...]
    c: tuple[float, ...]


EXPLICIT = {
    1: Tableau(  # Euler
        a=((),), b=(1.0,), c=(0.0,), real_axis=2.0, imaginary_axis=0.0
    ),
    2: Tableau(  # Heun
        a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0), real_axis=2.0, imaginary_axis=0.0
    ),
    3: Tableau(  # Shu, Osher 1988
        a=((), (1.0,), (0.25, 0.25)),
        b=(1 / 6, 1 / 6, 2 / 3),
        c=(0.0, 1.0, 0.5),
        real_axis=2.51,
        imaginary_axis=1.73,
    ),
    4: Tableau(  # Kutta
        a=((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)),
        b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
        c=(0.0, 0.5, 0.5, 1.0),
        real_axis=2.78,
        imaginary_axis=2.82,
    ),
}
"""The explicit method of each order."""


def _second_order() -> AdditiveTableau:
    """ARS(2,2,2) of Ascher, Ruuth, Spiteri 1997."""
    gamma = 1 - 1 / math.sqrt(2)
    delta = 1 - 1 / (2 * gamma)
    return AdditiveTableau(
        explicit=((), (gamma,), (delta, 1 - delta)),
        implicit=((0.0,), (0.0, gamma), (0.0, 1 - gamma, gamma)),
        b=(delta, 1 - delta, 0.0),
        c=(0.0, gamma, 1.0),
        gamma=gamma,
    )


def _third_order() -> AdditiveTableau:
    """ARK3(2)4L[2]SA of Kennedy, Carpenter 2003."""
    gamma = 1767732205903 / 4055673282236
    b = (
        1471266399579 / 7840856788654,
        -4482444167858 / 7529755066697,
        11266239266428 / 11593286722821,
        gamma,
    )
    return AdditiveTableau(
        explicit=(
            (),
            (2 * gamma,),
            (5535828885825 / 10492691773637, 788022342437 / 10882634858940),
            (
                6485989280629 / 16251701735622,
                -4246266847089 / 9704473918619,
                10755448449292 / 10357097424841,
            ),
        ),
        implicit=(
            (0.0,),
            (gamma, gamma),
            (2746238789719 / 10658868560708, -640167445237 / 6845629431997, gamma),
            b,
        ),
        b=b,
        c=(0.0, 2 * gamma, 3 / 5, 1.0),
        gamma=gamma,
    )


def _fourth_order() -> AdditiveTableau:
    """ARK4(3)6L[2]SA of Kennedy, Carpenter 2003."""
    b = (82889 / 524892, 0.0, 15625 / 83664, 69875 / 102672, -2260 / 8211, 1 / 4)
    return AdditiveTableau(
        explicit=(
            (),
            (1 / 2,),
            (13861 / 62500, 6889 / 62500),
            (
                -116923316275 / 2393684061468,
                -2731218467317 / 15368042101831,
                9408046702089 / 11113171139209,
            ),
            (
                -451086348788 / 2902428689909,
                -2682348792572 / 7519795681897,
                12662868775082 / 11960479115383,
                3355817975965 / 11060851509271,
            ),
            (
                647845179188 / 3216320057751,
                73281519250 / 8382639484533,
                552539513391 / 3454668386233,
                3354512671639 / 8306763924573,
                4040 / 17871,
            ),
        ),
        implicit=(
            (0.0,),
            (1 / 4, 1 / 4),
            (8611 / 62500, -1743 / 31250, 1 / 4),
            (5012029 / 34652500, -654441 / 2922500, 174375 / 388108, 1 / 4),
            (15267082809 / 155376265600, -71443401 / 120774400, 730878875 / 902184768, 2285395 / 8070912, 1 / 4),
            b,
        ),
        b=b,
        c=(0.0, 1 / 2, 83 / 250, 31 / 50, 17 / 20, 1.0),
        gamma=1 / 4,
    )


ADDITIVE = {2: _second_order(), 3: _third_order(), 4: _fourth_order()}
"""The pair of each order."""


EXPONENTIAL = {
    1: ExponentialTableau(a=((),), b=({(1, 1.0): 1.0},), c=(0.0,)),
    2: ExponentialTableau(
        a=((), ({(1, 1.0): 1.0},)),
        b=({(1, 1.0): 1.0, (2, 1.0): -1.0}, {(2, 1.0): 1.0}),
        c=(0.0, 1.0),
    ),
    3: ExponentialTableau(
        a=((), ({(1, 0.5): 0.5},), ({(1, 1.0): -1.0}, {(1, 1.0): 2.0})),
        b=(
            {(1, 1.0): 1.0, (2, 1.0): -3.0, (3, 1.0): 4.0},
            {(2, 1.0): 4.0, (3, 1.0): -8.0},
            {(2, 1.0): -1.0, (3, 1.0): 4.0},
        ),
        c=(0.0, 0.5, 1.0),
    ),
    4: ExponentialTableau(
        a=(
            (),
            ({(1, 0.5): 0.5},),
            ({}, {(1, 0.5): 0.5}),
            ({(1, 1.0): 1.0, (1, 0.5): -1.0}, {}, {(1, 0.5): 1.0}),
        ),
        b=(
            {(1, 1.0): 1.0, (2, 1.0): -3.0, (3, 1.0): 4.0},
            {(2, 1.0): 2.0, (3, 1.0): -4.0},
            {(2, 1.0): 2.0, (3, 1.0): -4.0},
            {(2, 1.0): -1.0, (3, 1.0): 4.0},
        ),
        c=(0.0, 0.5, 0.5, 1.0),
    ),
}
"""The exponential method of each order: Euler's, ETD2RK, ETD3RK and ETD4RK of Cox, Matthews 2002."""


def square(rows: Sequence[Sequence[float]]) -> np.ndarray:
    """Rows of coefficients as a square matrix, with zeros behind them."""
    matrix = np.zeros((len(rows), len(rows)))
    for index, row in enumerate(rows):
        matrix[index, : len(row)] = row
    return matrix
