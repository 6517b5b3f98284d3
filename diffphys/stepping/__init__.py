"""Time: integrators as values, for any system that can say how fast its state changes."""

from diffphys.stepping.integrators import Advanced, ImplicitExplicit, Integrator, RungeKutta, Splitting, System


__all__ = ["Advanced", "ImplicitExplicit", "Integrator", "RungeKutta", "Splitting", "System"]
