"""`check_gradient` passes what is right, names what is wrong, and says honestly what it cannot prove."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp


def check(function, arguments, **settings):
    return dp.check_gradient(function, arguments, optimize=False, show=False, **settings)


def statuses(found):
    return {(finding.test, finding.part): finding.status for finding in found.findings}


@jax.custom_jvp
def wrong_rule(x):
    return jnp.sin(x)


@wrong_rule.defjvp
def _(primals, tangents):
    return jnp.sin(primals[0]), jnp.cos(primals[0]) * 1.001 * tangents[0]


@jax.custom_vjp
def wrong_transpose(x):
    return jnp.sin(x)


wrong_transpose.defvjp(lambda x: (jnp.sin(x), x), lambda x, cotangent: (1.001 * cotangent * jnp.cos(x),))


@jax.custom_jvp
def wrong_second(x):
    return jnp.sin(x)


@wrong_second.defjvp
def _(primals, tangents):
    return jnp.sin(primals[0]), jax.lax.stop_gradient(jnp.cos(primals[0])) * tangents[0]


def test_a_right_gradient_of_any_pytree_passes_in_a_float32_program(capsys):
    class Model(eqx.Module):
        matrix: jax.Array
        scale: float
        count: int = eqx.field(static=True)

    def function(model, inputs):
        return {"y": jnp.tanh(model.matrix @ inputs["x"]) * model.scale, "n": inputs["n"], "unused": None}

    assert jnp.zeros(()).dtype == jnp.float32
    arguments = (Model(jnp.ones((2, 3)), 0.7, 2), {"x": np.array([0.1, 0.2, 0.4], np.float32), "n": 3})
    found = dp.check_gradient(function, arguments, optimize=False)
    assert found and found.passed and not found.failures and jnp.zeros(()).dtype == jnp.float32
    parts = {finding.part for finding in found.findings}
    assert parts == {"all leaves together", "model.matrix", "model.scale", "inputs['x']"}
    orders = [finding.value for finding in found.findings if finding.test == "Taylor remainder"]
    assert len(orders) == 4 and all(abs(order - 2) < 0.05 for order in orders)
    assert "The gradient is right" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [(0.3, 0.4), [0.3, 0.4], ((0.3, 0.4),)], ids=["tuple", "list", "one argument"])
def test_arguments_are_given_as_the_signature_wants_them(arguments):
    nested = len(arguments) == 1
    assert check((lambda pair: pair[0] * pair[1]) if nested else (lambda a, b: a * b), arguments)
    assert check(lambda pair: pair[0] * pair[1] ** 2, arguments)


def test_a_wrong_rule_is_named_with_its_leaf():
    found = check(lambda a, b: jnp.cos(a) + wrong_rule(b), (0.3, jnp.asarray([0.5, 0.6])))
    assert not found and "WRONG" in str(found) and "custom_jvp" in str(found)
    taylor = {part: status for (test, part), status in statuses(found).items() if test == "Taylor remainder"}
    assert taylor == {"all leaves together": "wrong", "a": "right", "b": "wrong"}
    (finding,) = [one for one in found.failures if one.part == "b" and one.test == "Taylor remainder"]
    assert abs(finding.value - 1) < 0.05


def test_a_wrong_vjp_is_found_without_a_forward_mode():
    found = check(wrong_transpose, 0.3)
    assert statuses(found)["modes", "the function"] == "missing" and "reverse mode only" in str(found)
    assert statuses(found)["Taylor remainder of the vjp", "x"] == "wrong"


def test_a_rule_that_is_right_but_not_its_own_derivative():
    found = check(wrong_second, 0.3)
    assert {finding.test for finding in found.failures} == {"second derivative against differences of the gradient"}


def test_a_large_third_derivative_is_not_called_a_wrong_second_one():
    """Where plain differences of the gradient are off by more than what they are held to."""
    found = dp.check_gradient(lambda x: jnp.exp(600 * (x - 1)), (jnp.asarray([1.001, 0.998, 1.003]),), show=False)
    assert found.passed, str(found)


@pytest.mark.parametrize(
    "function, argument, word",
    [
        (jnp.abs, jnp.asarray([0.0, 1.0]), "kink"),
        (lambda x: jnp.maximum(x, 2.0), jnp.asarray([1.0, 2.0]), "kink"),
        (jnp.round, jnp.asarray([0.5, 1.0]), "jumps"),
    ],
)
def test_a_kink_is_not_called_a_wrong_gradient(function, argument, word):
    found = check(lambda x: function(x), argument)
    assert not found and {finding.status for finding in found.failures} == {"kink"} and word in str(found)
    assert check(lambda x: function(x), argument + 0.01)


@pytest.mark.parametrize(
    "function, argument, test",
    [
        (jnp.sqrt, jnp.asarray([0.0, 1.0]), "Taylor remainder"),
        (lambda x: jnp.linalg.norm(x), jnp.zeros(3), "Taylor remainder"),
        (lambda x: jnp.where(x > 0, jnp.sqrt(x), 0.0), jnp.asarray([-1.0, 2.0]), "Taylor remainder of the vjp"),
        (jnp.log, jnp.asarray([-1.0, 1.0]), "value"),
    ],
)
def test_what_is_not_finite_is_said(function, argument, test):
    found = check(lambda x: function(x), argument)
    assert not found and test in {finding.test for finding in found.failures if finding.status == "not finite"}


def test_a_gradient_that_was_cut_and_one_that_is_not_there():
    found = check(lambda x, y: (jax.lax.stop_gradient(x) * y, 3), (0.5, 0.4))
    assert statuses(found)["Taylor remainder", "x"] == "wrong" and statuses(found)["Taylor remainder", "y"] == "right"
    found = check(lambda x, y: y * 2.0, (0.5, 0.4))
    assert found and statuses(found)["Taylor remainder", "x"] == "independent" and "depend on x" in str(found)


def test_lower_precision_inside_is_named():
    found = check(lambda x: x.astype(jnp.float32) ** 2, jnp.asarray([0.5, 1.0]))
    assert not found and "cast to float32" in str(found)
    assert {finding.status for finding in found.failures} == {"unclear"}


def test_a_loose_iterative_solver_is_unclear_and_a_loop_has_no_reverse_mode():
    found = check(lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] * x), (0, x))[1], 1.3)
    assert {finding.test for finding in found.failures} == {"modes"} and "reverse mode" in str(found)


def test_complex_leaves():
    assert check(lambda z: jnp.exp(z) * jnp.abs(z) ** 2, jnp.asarray([0.5 + 1j, 1.0]))


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    "function, arguments, words",
    [
        (lambda n: n, (3,), "arguments have no floating-point leaf"),
        (lambda x: x, None, "arguments have no floating-point leaf"),
        (lambda x: jnp.argmax(x), (jnp.ones(3),), "result has no floating-point leaf"),
        (lambda x: np.sin(x), jnp.ones(3), "cannot be traced"),
        (lambda x: float(x), 0.5, "cannot be traced"),
        (3, 0.5, "function is 3"),
    ],
)
def test_bad_input_is_refused(function, arguments, words):
    with pytest.raises(dp.InputError, match=words):
        check(function, arguments)
