r"""A gas of fuel, oxidizer and the rest, and the reaction that burns it: what happens within a cell.

Of the mass in a cell the fraction $Y_F$ is fuel and $Y_O$ oxidizer; the rest, $1 - Y_F - Y_O$, is products and what
takes no part. All of it is an ideal gas at one pressure with one heat capacity.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from diffphys.grids import Declared, quantity, within
from diffphys.grids.numbers import concrete
from diffphys.grids.sides import given
from diffphys.stepping import RungeKutta


GAS_CONSTANT = 8.314462618
"""Of all ideal gases, in joules per mole and kelvin."""

TEMPERATURES = (100.0, 6000.0)
"""Between which a temperature is accepted, in kelvin."""

LEAST = 1e-12
"""A mass fraction that is none: below it powers of concentrations are not taken."""


class Gas(Declared):
    r"""An ideal gas of fuel, oxidizer and the rest, of one heat capacity, at a constant pressure:

    $$\rho = \frac{p}{R\, T\, (Y_F / W_F + Y_O / W_O + (1 - Y_F - Y_O) / W_R)}$$

    The defaults are methane, oxygen and, as the rest, nitrogen with what methane burns to.

    Args:
        pressure: $p$, in pascals.
        heat_capacity: $c_p$ at constant pressure, in joules per kilogram and kelvin.
        fuel_mass: $W_F$, kilograms in a mole.
        oxidizer_mass: $W_O$.
        rest_mass: $W_R$.

    Examples:
        >>> gas = dp.physics.Gas()
        >>> round(float(gas.density(300.0, 0.0, 0.233)), 2)  # air
        1.18
    """

    pressure: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=101325.0)
    heat_capacity: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=1450.0)
    fuel_mass: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=0.016)
    oxidizer_mass: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=0.032)
    rest_mass: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=0.028)

    def density(self, temperature: ArrayLike, fuel: ArrayLike, oxidizer: ArrayLike) -> Array:
        """In kilograms per cubic meter. A temperature below one kelvin counts as one."""
        fuel, oxidizer = jnp.asarray(fuel), jnp.asarray(oxidizer)
        moles = fuel / self.fuel_mass + oxidizer / self.oxidizer_mass + (1 - fuel - oxidizer) / self.rest_mass
        return self.pressure / (GAS_CONSTANT * jnp.maximum(temperature, 1.0) * moles)


class Burnt(NamedTuple):
    """What a reaction has made of a gas.

    Attributes:
        temperature: In kelvin.
        fuel: Its mass fraction.
        oxidizer: Its mass fraction.
    """

    temperature: Array
    fuel: Array
    oxidizer: Array


class OneStepReaction(Declared):
    r"""Fuel and oxidizer burn in one irreversible step, at a rate of Arrhenius:

    $$\omega = A\, \Big(\frac{\rho Y_F}{W_F}\Big)^a \Big(\frac{\rho Y_O}{W_O}\Big)^b e^{-E / R T}, \qquad
    \dot Y_F = -\frac{W_F}{\rho}\, \omega, \qquad \dot Y_O = s\, \dot Y_F, \qquad
    \dot T = -\frac{h}{c_p}\, \dot Y_F, \qquad s = \nu \frac{W_O}{W_F}$$

    At constant pressure one number tells all: how much of what can burn, $r = \min(Y_F, Y_O / s)$, is left.
    $\eta = -\ln(r / r_0)$ obeys $\dot \eta = -\dot Y_F / r \ge 0$, which is integrated by Runge-Kutta 4. Where a gas
    burns out $\eta$ grows at a constant rate, so that nothing is stiff; and whatever the step is, $r = r_0 e^{-\eta}$
    stays between zero and $r_0$: no step explodes, and none makes a fraction negative. The exponential is bounded for
    every temperature. Negative fractions count as zero.

    The defaults are one-step methane with air as Tathawadekar, Doan, Silva, Thuerey (2023) use it for Bunsen flames,
    with $\omega$ in moles per cubic meter and second; their planar flame has $A = 1.1 \cdot 10^7$ and $E = 83600$.

    Args:
        pre_exponential: $A$.
        activation_energy: $E$, in joules per mole.
        heat: $h$, released per mass of fuel, in joules per kilogram.
        oxidizer_moles: $\nu$, of oxidizer that burn with one of fuel.
        fuel_order: $a$.
        oxidizer_order: $b$.

    Examples:
        >>> burnt = dp.physics.OneStepReaction().after(1.0, dp.physics.Gas(), 1500.0, 0.04, 0.22, steps=100)
        >>> round(float(burnt.temperature))  # 1500 K, and what 0.04 of fuel releases
        2882
    """

    pre_exponential: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=5.1e4)
    activation_energy: Array = eqx.field(converter=quantity, metadata=within(minimum=0.0), default=93600.0)
    heat: Array = eqx.field(converter=quantity, metadata=within(), default=5.01e7)
    oxidizer_moles: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=2.0)
    fuel_order: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=1.0)
    oxidizer_order: Array = eqx.field(converter=quantity, metadata=within(above=0.0), default=0.5)

    def rate(self, gas: Gas, temperature: ArrayLike, fuel: ArrayLike, oxidizer: ArrayLike) -> Array:
        r"""How much fuel burns, $-\dot Y_F$ in its mass fraction per second."""
        fuel, oxidizer = jnp.asarray(fuel), jnp.asarray(oxidizer)
        there = (fuel > LEAST) & (oxidizer > LEAST)
        rate = self._rate(gas, jnp.asarray(temperature), *(jnp.maximum(one, LEAST) for one in (fuel, oxidizer)))
        return jnp.where(there, rate, 0.0)

    def after(
        self,
        duration: ArrayLike,
        gas: Gas,
        temperature: ArrayLike,
        fuel: ArrayLike,
        oxidizer: ArrayLike,
        steps: int = 4,
    ) -> Burnt:
        """The gas so much later, left to itself at constant pressure.

        Args:
            duration: In seconds.
            gas: Of what it is.
            temperature: In kelvin; a number or an array.
            fuel: Its mass fraction.
            oxidizer: Its mass fraction.
            steps: Of the integration.
        """
        start = Burnt(*jnp.broadcast_arrays(*map(jnp.asarray, (temperature, fuel, oxidizer))))
        needed = self.needed(gas).astype(start.fuel.dtype)
        most = jnp.maximum(jnp.minimum(start.fuel, start.oxidizer / needed), 0.0)
        left = _Left(self, gas, Burnt(start.temperature, start.fuel - most, start.oxidizer - needed * most), most)
        length = jnp.asarray(duration, most.dtype) / steps

        def advance(burnt: Array, _: None) -> tuple[Array, None]:
            return RungeKutta(4).advance(left, burnt, length).state, None

        burnt, _ = jax.lax.scan(advance, jnp.zeros_like(most), None, steps)
        consumed = most * -jnp.expm1(-burnt)
        return Burnt(
            start.temperature + self.heat / gas.heat_capacity * consumed,
            start.fuel - consumed,
            start.oxidizer - needed * consumed,
        )

    def needed(self, gas: Gas) -> Array:
        """$s$, the mass of oxidizer that a mass of fuel needs."""
        return self.oxidizer_moles * gas.oxidizer_mass / gas.fuel_mass

    def _rate(self, gas: Gas, temperature: Array, fuel: Array, oxidizer: Array) -> Array:
        """Of mass fractions that are positive."""
        density = gas.density(temperature, fuel, oxidizer)
        # Below one kelvin the exponential is zero, and so is its derivative.
        arrhenius = jnp.exp(-self.activation_energy / (GAS_CONSTANT * jnp.maximum(temperature, 1.0)))
        moles = (density * fuel / gas.fuel_mass) ** self.fuel_order
        moles = moles * (density * oxidizer / gas.oxidizer_mass) ** self.oxidizer_order
        return gas.fuel_mass / density * self.pre_exponential * moles * arrhenius


class _Left(eqx.Module):
    """How fast the logarithm of what can burn falls.

    Attributes:
        reaction: The reaction.
        gas: Of what the gas is.
        beside: The temperature at the start, and the fuel and the oxidizer that find no partner.
        most: What can burn, of fuel.
    """

    reaction: OneStepReaction
    gas: Gas
    beside: Burnt
    most: Array

    def rate(self, time: Any, burnt: Array, input: Any) -> Array:
        reaction, (temperature, fuel, oxidizer) = self.reaction, self.beside
        left = self.most * jnp.exp(-burnt)
        warmer = temperature + reaction.heat / self.gas.heat_capacity * (self.most - left)
        least = jnp.maximum(left, LEAST)
        partners = (jnp.maximum(fuel, 0.0) + least, jnp.maximum(oxidizer, 0.0) + reaction.needed(self.gas) * least)
        return jnp.where(self.most > LEAST, reaction._rate(self.gas, warmer, *partners) / least, 0.0)


class Mixture(Declared):
    """A gas at a temperature, as it enters through a side: numbers, profiles along the side with an entry for each
    cell, or functions of time that return one of them.

    Args:
        temperature: In kelvin, 100 to 6000.
        fuel: Its mass fraction.
        oxidizer: Its mass fraction; both together are at most 1.

    Examples:
        >>> fresh = dp.physics.Mixture(300.0, fuel=0.055, oxidizer=0.22)
    """

    temperature: Any = eqx.field(converter=given("Mixture: temperature"))
    fuel: Any = eqx.field(converter=given("Mixture: fuel"), default=0.0)
    oxidizer: Any = eqx.field(converter=given("Mixture: oxidizer"), default=0.0)

    def refused(self):
        yield from refused_mixture(self.temperature, self.fuel, self.oxidizer)

    @staticmethod
    def with_air(temperature: Any, ratio: ArrayLike) -> "Mixture":
        r"""Methane and air at an equivalence ratio $\phi$: $Y_F = 1 / (1 + 17.16 / \phi)$, and of the rest 4 / 17.16
        is oxygen, of which methane needs four times its mass.

        Args:
            temperature: In kelvin.
            ratio: The equivalence ratio, 1 where nothing is left over; below it oxygen is.
        """
        ratio = jnp.asarray(ratio, float)
        fuel = ratio / (ratio + 17.16)
        return Mixture(temperature, fuel, (1 - fuel) * (4 / 17.16))


def refused_mixture(temperature: Any, fuel: Any, oxidizer: Any):
    """What is refused in temperatures and mass fractions, as far as they are known."""
    low, high = TEMPERATURES
    if (known := concrete(temperature)) is not None:
        out = known[~((known >= low) & (known <= high))]
        yield bool(out.size), f"temperature is {out[:1].sum():g} K; {low:g} to {high:g} K are accepted."
    found = {name: concrete(one) for name, one in (("fuel", fuel), ("oxidizer", oxidizer))}
    for name, one in found.items():
        if one is not None:
            out = one[~((one >= 0) & (one <= 1))]
            yield bool(out.size), f"the mass fraction {name} is {out[:1].sum():g}; 0 to 1 is accepted."
    both = [one for one in found.values() if one is not None]
    if len(both) == 2:
        most = np.max(both[0] + both[1])
        yield bool(most > 1 + 1e-6), f"fuel and oxidizer are {most:g} of the mass; together at most 1 is accepted."
