"""What PyTorch sees of a function of ours is that function, and its derivatives of any order."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp


torch: Any = pytest.importorskip("torch")

# PyTorch's own forward mode uses what PyTorch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")

GRID = dp.Grid((8,), (1.0,))
PERIODIC = ((dp.Periodic(), dp.Periodic()),)


def smooth(values, factor):
    return jnp.sin(values) * factor, {"sum": jnp.sum(values**3 * factor)}


def step_of_burgers(values, viscosity):
    system = dp.Burgers(GRID, 0.01, 0.02, PERIODIC)
    system = dataclasses.replace(system, viscosity=viscosity)
    return system((dp.Field(values, GRID, (0.0,), PERIODIC),))[0].values


def doubles(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).requires_grad_()


@pytest.mark.usefixtures("float64")
def test_values_and_gradients_are_those_of_jax():
    values, factor = doubles(3), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    first, second = dp.to_torch(smooth)(values, factor)
    expected = smooth(jnp.asarray(values.detach().numpy()), 0.7)
    np.testing.assert_array_equal(first.detach().numpy(), expected[0])
    (first.sum() + second["sum"]).backward()
    pulled = jax.grad(lambda v, f: jnp.sum(smooth(v, f)[0]) + smooth(v, f)[1]["sum"], (0, 1))(
        jnp.asarray(values.detach().numpy()), jnp.asarray(0.7)
    )
    np.testing.assert_allclose(values.grad.numpy(), pulled[0], rtol=1e-14)
    np.testing.assert_allclose(factor.grad.numpy(), pulled[1], rtol=1e-14)


@pytest.mark.usefixtures("float64")
def test_pytorch_checks_first_and_second_derivatives_in_both_modes():
    function = dp.to_torch(smooth)

    def both(values, factor):
        first, second = function(values, factor)
        return first, second["sum"]

    given = (doubles(3), doubles(1, seed=1)[0].detach().requires_grad_())
    assert torch.autograd.gradcheck(both, given, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(both, given)
    waves = torch.from_numpy(np.array([0.3 + 0.4j, -1.0 + 0.2j])).requires_grad_()
    assert torch.autograd.gradcheck(dp.to_torch(lambda z: z**2 * jnp.conj(z)), (waves,))


@pytest.mark.usefixtures("float64")
def test_a_step_of_a_system_is_checked_by_pytorch():
    advance = dp.to_torch(step_of_burgers)
    viscosity = torch.tensor(0.01, dtype=torch.float64, requires_grad=True)
    values = (torch.sin(2 * np.pi * torch.arange(8, dtype=torch.float64) / 8) + 2.0).requires_grad_()
    assert torch.autograd.gradcheck(advance, (values, viscosity), eps=1e-6, atol=1e-7)
    assert torch.autograd.gradgradcheck(advance, (values, viscosity), eps=1e-6, atol=1e-6)


@pytest.mark.usefixtures("float64")
def test_a_batch_by_vmap_is_one_compiled_batch():
    traced = []

    def counted(values, factor):
        traced.append(1)
        return smooth(values, factor)[0]

    function = dp.to_torch(counted)
    values, factor = doubles(4, 3), torch.tensor(2.0, dtype=torch.float64)
    batched = torch.func.vmap(function, in_dims=(0, None))(values, factor)
    np.testing.assert_allclose(batched.detach(), 2 * np.sin(values.detach().numpy()), rtol=1e-14)
    gradient = torch.func.vmap(torch.func.grad(lambda v: function(v, factor).sum()))(values.detach())
    np.testing.assert_allclose(gradient, 2 * np.cos(values.detach().numpy()), rtol=1e-14)
    jacobian = torch.func.jacrev(lambda v: function(v, factor))(values.detach()[0])
    np.testing.assert_allclose(jacobian, np.diag(2 * np.cos(values.detach().numpy()[0])), atol=1e-14)
    before = len(traced)
    torch.func.vmap(function, in_dims=(0, None))(values + 1, factor)
    assert len(traced) == before


def test_states_go_in_and_out_whole_numbers_have_no_gradient_and_results_own_their_memory():
    def moved(state, by):
        return {"field": state["field"] * 2.0, "same": state["plain"], "count": jnp.sum(by)}

    field = dp.Field(jnp.arange(8.0), GRID)
    plain = torch.ones(3, requires_grad=True)
    found = dp.to_torch(moved)({"field": field, "plain": plain}, torch.tensor([1, 2]))
    assert isinstance(found["field"], dp.Field) and isinstance(found["field"].values, torch.Tensor)
    np.testing.assert_array_equal(found["field"].values.detach(), 2 * np.arange(8.0))
    assert int(found["count"]) == 3 and not found["count"].requires_grad
    with torch.no_grad():
        found["same"] += 1
    np.testing.assert_array_equal(plain.detach(), np.ones(3))
    assert found["field"].values.device == torch.device("cpu")


def test_what_does_not_fit_is_one_sentence(monkeypatch):
    with pytest.raises(dp.InputError, match="enable_x64"):
        dp.to_torch(jnp.sin)(torch.zeros(2, dtype=torch.float64))
    with pytest.raises(dp.InputError, match="one device"):
        dp.to_torch(jnp.add)(torch.zeros(2), torch.zeros(2, device="meta"))
    wrong: Any = 3.0
    with pytest.raises(dp.InputError, match="function"):
        dp.to_torch(wrong)
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(dp.InputError, match=r'pip install "diffphys\[torch\]"'):
        dp.to_torch(jnp.sin)


def test_a_network_of_pytorch_is_trained_in_the_loop_of_a_solver():
    torch.manual_seed(0)
    advance = dp.to_torch(step_of_burgers)
    network = torch.nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular")
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    start = torch.sin(2 * np.pi * torch.arange(8) / 8)
    target = start
    for _ in range(3):
        target = advance(target, torch.tensor(0.05))
    losses = []
    for _ in range(40):
        state = start
        for _ in range(3):
            state = advance(state, torch.tensor(0.0))
            state = state + 0.1 * network(state[None, None])[0, 0]
        loss = (state - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]


def test_a_network_of_pytorch_in_a_corrected_solver_is_refused():
    ring = dp.Heat(dp.Grid((16,), (1.0,)), 0.01, 0.01, ((dp.Periodic(), dp.Periodic()),))
    with pytest.raises(dp.InputError, match="network is a module of PyTorch; a function of JAX arrays"):
        dp.Corrected(ring, torch.nn.Conv1d(1, 1, 3))
