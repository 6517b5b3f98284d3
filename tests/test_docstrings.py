"""Every name at the top of the package has an example in its docstring, and so has what systems declare their numbers
with; the example runs.
"""

import doctest
import inspect
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import diffphys as dp


FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
NAMES = [*sorted(dp._HOME), "grids.Declared"]  # all that is public at the top, save the rooms


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of PyTorch, while it is imported
@pytest.mark.parametrize("name", NAMES)
def test_the_example_of_a_docstring_runs(name, tmp_path, monkeypatch, capsys):
    if name == "to_torch":
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names = dict(dp=dp, jax=jax, jnp=jnp, np=np)
    example = doctest.DocTestParser().get_doctest(
        inspect.getdoc(operator.attrgetter(name)(dp)) or "", names, name, None, 0
    )
    assert example.examples, f"dp.{name} has no example"
    failed = doctest.DocTestRunner(optionflags=FLAGS).run(example).failed
    assert not failed, capsys.readouterr().out
