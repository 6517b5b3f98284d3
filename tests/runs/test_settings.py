"""Settings: what is accepted becomes a typed value, what is not becomes one sentence that names it."""

import math
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffphys.errors import InputError
from diffphys.runs import make_settings, parse_overrides, setting
from diffphys.runs.settings import results_settings


@dataclass(frozen=True)
class Settings:
    frames: int = setting(499, help="frames", minimum=1, maximum=10_000)
    viscosity: float = setting(0.1, help="viscosity", above=0.0)
    arm: str = setting("SOL", help="arm", choices=("SRC", "NON", "SOL"))
    plot: bool = setting(True, help="plot", changes_results=False)
    reynolds: tuple[float, ...] = setting((73.2,), help="Reynolds numbers", above=0.0)
    cells: tuple[int, int] = setting((64, 32), help="cells", minimum=1)
    levels: tuple[int, ...] = setting((8, 16), help="cells of grids that are refined", minimum=4, increasing=2)
    cases: tuple[float, ...] = setting((1.0, 2.0), help="what is tested", distinct=True)
    axes: tuple[int, ...] = setting((7, 9, 6), help="cells along each axis", minimum=6, lengths=(2, 3))


def parsed(*assignments):
    return make_settings(Settings, parse_overrides(Settings, assignments))


def test_defaults_and_overrides():
    assert parsed() == Settings()
    assert parsed("frames=7", "plot=False", "arm=NON", "cells=8, 4") == Settings(
        frames=7, plot=False, arm="NON", cells=(8, 4)
    )
    assert parsed("frames=7", "frames=8").frames == 8
    assert parsed("axes=6,7").axes == (6, 7)


@given(st.integers(1, 10_000), st.floats(1e-30, 1e30), st.lists(st.floats(1e-30, 1e30), min_size=1))
def test_every_accepted_number_arrives_exactly(frames, viscosity, reynolds):
    texts = (f"frames={frames}", f"viscosity={viscosity!r}", "reynolds=" + ",".join(map(repr, reynolds)))
    settings = parsed(*texts)
    assert (settings.frames, settings.viscosity, settings.reynolds) == (frames, viscosity, tuple(reynolds))
    assert type(settings.viscosity) is float and all(type(number) is float for number in settings.reynolds)


@given(st.text(max_size=8), st.text(max_size=8))
def test_any_text_is_accepted_or_refused_in_a_sentence(name, value):
    for assignment in (value, f"{name}={value}", *(f"{field}={value}" for field in Settings.__dataclass_fields__)):
        try:
            settings = parsed(assignment)
        except InputError:
            continue
        assert 1 <= settings.frames <= 10_000 and 0 < settings.viscosity < math.inf
        assert settings.arm in ("SRC", "NON", "SOL") and len(settings.cells) == 2 and len(settings.reynolds) >= 1


@pytest.mark.parametrize(
    "assignment, words",
    [
        ("frams=3", ['"frams"', 'did you mean "frames"']),
        ("frames", ['"frames"', "key=value"]),
        ("frames=0", ['"frames"', "a whole number at least 1 and at most 10000", '"0"']),
        ("frames=2.5", ['"frames"', "whole number", '"2.5"']),
        ("frames=10001", ['"frames"', "at most 10000"]),
        ("viscosity=0", ['"viscosity"', "a number above 0.0", '"0"']),
        ("viscosity=nan", ['"viscosity"', '"nan"']),
        ("viscosity=inf", ['"viscosity"', '"inf"']),
        ("viscosity=thick", ['"viscosity"', '"thick"']),
        ("arm=SOLL", ['"arm"', "one of: SRC, NON, SOL", '"SOLL"']),
        ("plot=maybe", ['"plot"', "true or false"]),
        ("reynolds=", ['"reynolds"', "one or more numbers separated by commas, each above 0.0"]),
        ("reynolds=1,,2", ['"reynolds"', '"1,,2"']),
        ("reynolds=1,-2", ['"reynolds"', '"1,-2"']),
        ("cells=8", ['"cells"', "2 whole numbers separated by commas, each at least 1"]),
        ("cells=8,4,2", ['"cells"', '"8,4,2"']),
        ("cases=3,1,3.0", ['"cases"', "one or more different numbers separated by commas", '"3,1,3.0"']),
        ("levels=8", ['"levels"', "2 or more increasing whole numbers separated by commas, each at least 4", '"8"']),
        ("levels=16,8", ['"levels"', '"16,8"']),
        ("levels=8,8", ['"levels"', '"8,8"']),
        ("axes=8", ['"axes"', "2 or 3 whole numbers separated by commas, each at least 6", '"8"']),
        ("axes=8,8,8,8", ['"axes"', '"8,8,8,8"']),
    ],
)
def test_refusals_name_the_setting_and_what_it_accepts(assignment, words):
    with pytest.raises(InputError) as caught:
        parsed(assignment)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("values", [{"frames": True}, {"frames": "7"}, {"plot": 1}, {"viscosity": None}, {"cells": 8}])
def test_values_of_the_wrong_type_are_refused(values):
    with pytest.raises(InputError, match=next(iter(values))):
        make_settings(Settings, values)


def test_lists_read_from_json_and_whole_numbers_for_floats_are_taken():
    settings = make_settings(Settings, {"cells": [8, 4], "viscosity": 1, "reynolds": [100]})
    assert settings == Settings(cells=(8, 4), viscosity=1.0, reynolds=(100.0,))


def test_settings_that_change_no_result_are_told_apart():
    assert set(results_settings(Settings())) == {
        "frames",
        "viscosity",
        "arm",
        "reynolds",
        "cells",
        "levels",
        "cases",
        "axes",
    }
