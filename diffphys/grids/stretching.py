"""Edges of cells that are close together where much happens: smooth maps of equally spaced points.

A smooth map keeps neighboring cells alike, so that second-order schemes stay of second order (Ferziger, Peric 2002).
"""

from typing import Any

import numpy as np

from diffphys.errors import InputError
from diffphys.grids.numbers import as_number, check_number, shown, whole_number


def tanh_edges(cells: int, lower: float, upper: float, strength: float = 2.0, toward: str = "both") -> np.ndarray:
    r"""The edges of cells that are narrow at the ends of an axis, as channel flows need them.

    With $\xi$ from -1 to 1 the positions are $\tanh(s \xi) / \tanh(s)$, scaled to the axis (Vinokur 1983): the cell in
    the middle is about $\cosh^2 s$ times as wide as those at the ends. `toward="lower"` or `"upper"` uses half of that
    curve, so that cells are narrow at one end only.

    Args:
        cells: Number of cells.
        lower: Where the axis begins.
        upper: Where it ends.
        strength: The number $s > 0$.
        toward: "both", "lower" or "upper".

    Returns:
        Array of `cells + 1` positions, for `Grid.from_edges`.
    """
    _check("tanh_edges", cells, lower, upper, strength)
    ranges = {"both": (-1.0, 1.0), "lower": (-1.0, 0.0), "upper": (0.0, 1.0)}
    if not isinstance(toward, str) or toward not in ranges:
        raise InputError(f"tanh_edges: toward is {shown(toward)}; 'both', 'lower' or 'upper' is accepted.")
    curve = np.tanh(strength * np.linspace(*ranges[toward], cells + 1))
    return _scaled(curve, lower, upper)


def refined_edges(cells: int, lower: float, upper: float, around: float, strength: float = 4.0) -> np.ndarray:
    r"""The edges of cells that are narrow around a point within an axis and grow away from it, as around an obstacle.

    The positions are $x_0 + c \sinh(s \xi)$ with equally spaced $\xi$ (Roberts 1971), scaled so that they reach both
    ends; far from `around` each cell is wider than the one before by about the same factor.

    Args:
        cells: Number of cells.
        lower: Where the axis begins.
        upper: Where it ends.
        around: Where the cells are narrowest, between `lower` and `upper`.
        strength: The number $s > 0$: about the logarithm of twice the ratio of the lengths that are covered and those
            that are resolved.

    Returns:
        Array of `cells + 1` positions, for `Grid.from_edges`.
    """
    _check("refined_edges", cells, lower, upper, strength)
    check_number("refined_edges", "around", as_number(around, "refined_edges: around"))
    if not lower <= around <= upper:
        raise InputError(f"refined_edges: around is {around}; a number from {lower:g} to {upper:g} is accepted.")
    half = strength / 2  # the longer part spans arcsinh-coordinates up to s / 2 when `around` is in the middle
    stretch = np.sinh(half) / ((upper - lower) / 2)
    first, last = np.arcsinh((np.array([lower, upper]) - around) * stretch)
    return _scaled(np.sinh(np.linspace(first, last, cells + 1)), lower, upper)


def _scaled(curve: np.ndarray, lower: float, upper: float) -> np.ndarray:
    edges = lower + (upper - lower) * (curve - curve[0]) / (curve[-1] - curve[0])
    edges[0], edges[-1] = lower, upper  # to the last bit
    return edges


def _check(owner: str, cells: Any, lower: float, upper: float, strength: float) -> None:
    whole_number(f"{owner}: cells", cells)
    for name, value in (("lower", lower), ("upper", upper), ("strength", strength)):
        check_number(owner, name, as_number(value, f"{owner}: {name}"))
    if not lower < upper:
        raise InputError(f"{owner}: lower and upper are {lower} and {upper}; two increasing numbers are accepted.")
    if not 0 < strength <= 30:
        raise InputError(f"{owner}: strength is {strength}; a number greater than 0 and at most 30 is accepted.")
