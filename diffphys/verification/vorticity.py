r"""The square cavity once more, by vorticity and streamfunction: an independent method, of the kind Ghia et al. used.

The streamfunction $\psi$ gives the velocity, $u = \partial_y \psi$ and $v = -\partial_x \psi$. With the vorticity
$\omega$,

$$\nabla^2 \psi = -\omega, \qquad u\, \partial_x \omega + v\, \partial_y \omega = \nabla^2 \omega / Re,$$

both by central differences on the vertices of equal cells. On a wall that moves with $U$ along itself $\psi = 0$ and,
from two points on its normal (Jensen's formula, of second order),

$$\omega = \frac{-8 \psi_1 + \psi_2}{2 h^2} - \frac{3 U}{h}.$$

The steady state is found at once by Newton's method with sparse matrices, at rising Reynolds numbers. Nothing here is
shared with the solvers of this library.
"""

from typing import Any

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve


def steady_cavity(re: float, cells: int) -> dict[str, np.ndarray]:
    """`x`, `v` along the horizontal center line and `y`, `u` along the vertical one, for an even number of cells."""
    count, h = cells + 1, 1.0 / cells
    inside = np.zeros((count, count), bool)
    inside[1:-1, 1:-1] = True
    within = sparse.diags(inside.ravel().astype(float))
    beside = sparse.diags((~inside).ravel().astype(float))
    one = sparse.identity(count)
    ahead = sparse.eye(count, k=1)
    first, second = (ahead - ahead.T) / (2 * h), (ahead + ahead.T - 2 * one) / h**2
    along_x: Any = sparse.kron(first, one).tocsr()
    along_y: Any = sparse.kron(one, first).tocsr()
    laplacian = (sparse.kron(second, one) + sparse.kron(one, second)).tocsr()
    at_walls, of_the_lid = _wall_vorticity(count, h)

    psi, vorticity = np.zeros(count**2), np.zeros(count**2)
    for number in [step for step in (100.0, 400.0, 1000.0) if step < re] + [re]:
        for _ in range(30):
            u, v = along_y @ psi, -along_x @ psi
            residual = np.concatenate(
                [
                    within @ (laplacian @ psi + vorticity) + beside @ psi,
                    within @ (u * (along_x @ vorticity) + v * (along_y @ vorticity) - laplacian @ vorticity / number)
                    + beside @ vorticity
                    - at_walls @ psi
                    - of_the_lid,
                ]
            )
            by_psi = sparse.diags(along_x @ vorticity) @ along_y - sparse.diags(along_y @ vorticity) @ along_x
            by_vorticity = sparse.diags(u) @ along_x + sparse.diags(v) @ along_y - laplacian / number
            blocks: Any = [
                [within @ laplacian + beside, within],
                [within @ by_psi - at_walls, within @ by_vorticity + beside],
            ]
            change: Any = spsolve(sparse.bmat(blocks, format="csc"), -residual)
            psi, vorticity = psi + change[: count**2], vorticity + change[count**2 :]
            if np.abs(change).max() < 1e-8:
                break
        else:
            raise RuntimeError(f"Newton's method found no steady cavity at Re {number:g} with {cells} cells.")
    line = np.linspace(0.0, 1.0, count)
    u, v = (along_y @ psi).reshape(count, count)[cells // 2], (-along_x @ psi).reshape(count, count)[:, cells // 2]
    u[0], u[-1], v[0], v[-1] = 0.0, 1.0, 0.0, 0.0
    return dict(x=line, v=v, y=line, u=u)


def _wall_vorticity(count: int, h: float) -> tuple[Any, np.ndarray]:
    """The matrix and the constant that give the vorticity on the walls; the lid at the upper end of y has speed one."""
    numbers = np.arange(count**2).reshape(count, count)
    matrix, constant = sparse.lil_matrix((count**2, count**2)), np.zeros(count**2)
    for lines, speed in ((numbers, 0.0), (numbers[::-1], 0.0), (numbers.T, 0.0), (numbers.T[::-1], 1.0)):
        wall, near, next_ = (line[1:-1] for line in lines[:3])
        matrix[wall, near], matrix[wall, next_] = -8 / (2 * h**2), 1 / (2 * h**2)
        constant[wall] = -3 * speed / h
    return matrix.tocsr(), constant
