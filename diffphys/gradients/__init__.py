r"""Proofs that derivatives are right, for any function of a pytree.

Four facts hold for a correct derivative of a smooth function and fail for a wrong one (Griewank, Walther 2008):

- Taylor: $|f(x + h d) - f(x) - h f'(x) d|$ falls like $h^2$;
- the dot-product test: $u \cdot (J d) = (J^T u) \cdot d$ for random vectors, so that `vjp` is the transpose of `jvp`;
- the derivative of the gradient is the same by `jvp` of a `vjp` and by `vjp` of a `jvp`, which makes it symmetric;
- it agrees with differences of the gradient.

A wrong derivative leaves a remainder that falls like $h$ only. So does a right one at a kink, as of `abs` at zero:
there the slopes to both sides differ, and the verdict says so instead of calling the derivative wrong.

How small h may be depends on how much round-off the function makes. That is measured, by remainders at an h for which
$h^2$ is nothing; the order is then that of the smallest h whose remainders are clear of it.
"""

from diffphys.gradients.check import check_gradient
from diffphys.gradients.findings import GradientCheck, GradientFinding
from diffphys.gradients.measurements import dot


__all__ = ["check_gradient", "GradientCheck", "GradientFinding", "dot"]
