"""Timing in turns."""

from diffphys.runs import alternate


def test_programs_are_timed_in_turns():
    order = []
    times = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b") or 7.0}, 0.0)
    assert order[:6] == ["a", "b"] * 3 and times["b"] == (7.0, 7.0) and times["a"][1] >= 0
