"""Checkpoints: every bit comes back, and a file that is not whole, not ours or not fitting is refused in a sentence."""

import errno
import json
import os
import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffphys.errors import InputError
from diffphys.runs import checkpoint_metadata, load_checkpoint, save_checkpoint


def a_tree():
    return {
        "array": jnp.array([[1.5, jnp.nan, -0.0], [jnp.inf, 1e-40, 2.0]]),
        "half": jnp.array([1.0, 2.5], dtype=jnp.bfloat16),
        "numpy": np.arange(4, dtype=np.int64),
        "key": jax.random.key(3),
        "network": eqx.nn.Linear(2, 3, key=jax.random.key(0)),
        "count": 2**40,
        "rate": 0.1,
        "function": jnp.tanh,
    }


def bits(tree):
    def of_leaf(leaf):
        if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        return leaf if callable(leaf) else (type(leaf), np.asarray(leaf).dtype, np.asarray(leaf).tobytes())

    return jax.tree.map(of_leaf, tree)


def zeros(tree):
    arrays, rest = eqx.partition(tree, lambda leaf: eqx.is_array(leaf) and leaf.dtype != tree["key"].dtype)
    return eqx.combine(jax.tree.map(lambda leaf: leaf * 0, arrays), rest) | {
        "key": jax.random.key(0),
        "count": 0,
        "rate": 0.0,
    }


def test_every_bit_comes_back(tmp_path):
    path, tree = tmp_path / "a.checkpoint", a_tree()
    save_checkpoint(path, tree, kind="test", metadata={"loss": 0.1, "history": [1.0, float("inf")]})
    assert bits(zeros(tree)) != bits(tree)
    assert bits(load_checkpoint(path, zeros(tree), kind="test")) == bits(tree)
    assert checkpoint_metadata(path) == {"loss": 0.1, "history": [1.0, float("inf")]}
    assert os.listdir(tmp_path) == ["a.checkpoint"]


def test_shapes_alone_suffice_to_load(tmp_path):
    network = eqx.nn.Linear(2, 3, key=jax.random.key(1))
    save_checkpoint(tmp_path / "a", network, kind="network")
    shapes = eqx.filter_eval_shape(eqx.nn.Linear, 2, 3, key=jax.random.key(0))
    assert bits(load_checkpoint(tmp_path / "a", shapes)) == bits(network)


def test_truncated_at_every_length(tmp_path):
    path, tree = tmp_path / "a", {"weights": jnp.arange(3.0), "count": 1}
    save_checkpoint(path, tree, kind="test")
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="is truncated"):
            load_checkpoint(path, tree)
    path.write_bytes(content)
    load_checkpoint(path, tree)


def test_a_changed_byte_anywhere_is_noticed(tmp_path):
    path, tree = tmp_path / "a", {"weights": jnp.arange(3.0)}
    save_checkpoint(path, tree, kind="test", metadata={"update": 1234})
    content = path.read_bytes()
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
        with pytest.raises(InputError, match="damaged|truncated|not a diffphys checkpoint|newer"):
            load_checkpoint(path, tree)
    path.write_bytes(content + b"more")
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path, tree)


def test_foreign_files_are_refused_and_never_unpickled(tmp_path):
    class Harm:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "harm"),))

    np.save(tmp_path / "a.npy", np.array([Harm()], dtype=object), allow_pickle=True)
    harmful = (tmp_path / "a.npy").read_bytes()
    for content in (
        harmful,
        pickle.dumps(Harm()),
        b'{"format": "other"}\n',
        b"\n",
        bytes(range(256)),
        b'{"format": 1}',
    ):
        (tmp_path / "a").write_bytes(content)
        with pytest.raises(InputError, match='"[^"]*a" is not a diffphys checkpoint'):
            load_checkpoint(tmp_path / "a", {"weights": jnp.zeros(1)})
    # The same array behind a header that is in order, checksum and all.
    tree = {"weights": jnp.zeros(1)}
    save_checkpoint(tmp_path / "a", tree, kind="test")
    from diffphys.runs import checkpoints

    header = json.loads((tmp_path / "a").read_bytes().partition(b"\n")[0]) | {"bytes": len(harmful)}
    header["sha256"] = checkpoints._digest(header, harmful)
    (tmp_path / "a").write_bytes(json.dumps(header).encode() + b"\n" + harmful)
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(tmp_path / "a", tree)
    assert not (tmp_path / "harm").exists()


def test_missing_file_and_directory_in_its_place(tmp_path):
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            load_checkpoint(path, 0)


def test_newer_version_and_other_kind(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "old", 1.0, kind="wake network")
    with pytest.raises(InputError, match='of kind "wake network", but "burgers network" is asked for'):
        load_checkpoint(tmp_path / "old", 0.0, kind="burgers network")
    monkeypatch.setattr("diffphys.runs.checkpoints.VERSION", 2)
    save_checkpoint(tmp_path / "new", 1.0, kind="wake network")
    assert load_checkpoint(tmp_path / "old", 0.0) == 1.0
    monkeypatch.setattr("diffphys.runs.checkpoints.VERSION", 1)
    with pytest.raises(InputError, match="format version 2, written by a newer diffphys.*upgrade"):
        load_checkpoint(tmp_path / "new", 0.0)


@pytest.mark.parametrize(
    "like, words",
    [
        ({"a": jnp.zeros(4), "b": 0}, r"\['a'\] is float32\[3\] in the file, but float32\[4\] is asked for"),
        ({"a": jnp.zeros(3, dtype=int), "b": 0}, r"\['a'\] is float32\[3\] in the file, but int32\[3\] is asked for"),
        ({"a": jnp.zeros(3), "c": 0}, r"holds \['b'\] where \['c'\] is asked for"),
        ({"a": jnp.zeros(3)}, "holds 2 arrays and numbers, but 1 are asked for"),
        ({"a": jnp.zeros(3), "b": 0, "c": 0}, "holds 2 arrays and numbers, but 3 are asked for"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, like, words):
    save_checkpoint(tmp_path / "a", {"a": jnp.zeros(3, dtype=jnp.float32), "b": 0}, kind="test")
    with pytest.raises(InputError, match=words):
        load_checkpoint(tmp_path / "a", like)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_loses_nothing(tmp_path, monkeypatch, call):
    path = tmp_path / "a"
    save_checkpoint(path, 1.0, kind="test")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(InputError, match='full, so "[^"]*a" could not be written'):
        save_checkpoint(path, 2.0, kind="test")
    assert load_checkpoint(path, 0.0) == 1.0
    assert os.listdir(tmp_path) == ["a"]
