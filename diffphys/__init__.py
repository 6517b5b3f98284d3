"""Differentiable physics on JAX: simulators that networks are trained through."""
