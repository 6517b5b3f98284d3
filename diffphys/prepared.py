"""What is prepared once, on the host, and used by every program that is traced later: bases, surfaces, hierarchies.

A flow is made anew by `dataclasses.replace` and by every transformation that unflattens it, and is compared and hashed
as what it was made from: a grid, sides, cells. Arrays that follow from these alone would be lost each time if the flow
held them, or be compared entry by entry; so they are remembered here, by what they follow from. All that is remembered
together is bounded in bytes: what has not been asked for longest is forgotten first, and prepared anew if it is asked
for again. An array that is larger than the bound is not remembered.

Why not held by what a flow is made of, so that it goes with the last flow? Because that never goes: grids and obstacles
are static, and what is static in a step is part of the trees' definitions that JAX keeps. Of six flows that were made,
or made and rolled out, and deleted, all six grids were still there after garbage collection, with our own tables
emptied, and after `jax.clear_caches()` (JAX 0.10.2). What hung on them would stay for ever. The bound is what gives
memory back, and who is forgotten loses little: to prepare anew a cylinder in a channel of 64x32 cells takes 10 ms, of
256x128 0.4 s, less than to compile the program that asks for it.

A compiled program holds copies of its own. How large these are says `prepared_bytes()` of a pressure solver;
`devices.with_matrices` makes arguments of them.
"""

import collections
import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import jax
import numpy as np


LARGEST_BYTES = 2**28
"""How much is remembered together."""

Function = TypeVar("Function", bound=Callable[..., Any])

_remembered: collections.OrderedDict[Hashable, tuple[Any, int]] = collections.OrderedDict()
_lock = threading.RLock()


def prepared(function: Function) -> Function:
    """A pure function of hashable arguments, whose results, trees of arrays of NumPy, are remembered."""

    @functools.wraps(function)
    def remembering(*arguments: Hashable, **named: Hashable) -> Any:
        key = (function, arguments, tuple(sorted(named.items())))
        with _lock:
            if key in _remembered:
                _remembered.move_to_end(key)
                return _remembered[key][0]
        result = function(*arguments, **named)
        size = bytes_of(result)
        with _lock:
            if size <= LARGEST_BYTES:
                _remembered[key] = result, size
            while prepared_bytes() > LARGEST_BYTES:
                _remembered.popitem(last=False)
        return result

    return remembering  # pyright: ignore[reportReturnType] (it is called as the function is)


def prepared_bytes() -> int:
    """How much is remembered now."""
    with _lock:
        return sum(size for _, size in _remembered.values())


def forget_prepared() -> None:
    """Forget all of it; what is asked for again is prepared again."""
    with _lock:
        _remembered.clear()


def bytes_of(tree: Any) -> int:
    """The size of the arrays in a tree, in bytes."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree) if isinstance(leaf, (np.ndarray, jax.Array)))
