"""`diffphys verify`: cases are listed, write what they found, and leave with 1 where a bound is missed."""

import dataclasses
import json
import sys
import types

import pytest

from diffphys.cli import main
from diffphys.plots import Panel, panels_figure
from diffphys.runs import Entry, setting
from diffphys.verification import CASES, Check, checks_of, verification
from diffphys.verification.convergence import order_check


@dataclasses.dataclass(frozen=True)
class Settings:
    value: float = setting(0.5, help="what is found")
    pieces: int = setting(2, help="pieces of the work", minimum=1)


computed = []


def measure(settings, parts):
    def piece(index):
        computed.append(index)
        return {"found": [settings.value, float("nan")]}

    return {str(index): parts(f"piece-{index}", lambda index=index: piece(index)) for index in range(settings.pieces)}


def judge(settings, results):
    return [
        Check("found", results["0"]["found"][0], at_most=1.0, published=(0.4, 0.6), meaning="what was found"),
        Check("of_no_bound", 3.0),
    ]


def draw(settings, results):
    return {"line": panels_figure([Panel(lines={"found": ([0, 1], [0, results["0"]["found"][0]])})])}


def dummy_case(measure):
    return verification("dummy", Settings, {"quick": {"pieces": 1}}, measure, judge, draw)


@pytest.fixture(autouse=True)
def dummy(monkeypatch, tmp_path):
    module = types.ModuleType("dummy_case")
    module.PROGRAM = dummy_case(measure)  # pyright: ignore
    monkeypatch.setitem(sys.modules, "dummy_case", module)
    monkeypatch.setitem(CASES.entries, "dummy", Entry("dummy_case", "A number for the tests."))
    monkeypatch.chdir(tmp_path)
    computed.clear()


def test_a_case_writes_numbers_bounds_and_figures(tmp_path, capsys):
    assert main(["verify", "dummy", "--out", "here"]) == 0
    metrics = json.loads((tmp_path / "here" / "metrics.json").read_text())
    assert metrics["found"] == 0.5 and metrics["bounds"] == {"found": {"at_most": 1.0}}
    assert metrics["passed"] == {"found": True} and metrics["paper"] == {"found": [0.4, 0.6]}
    assert metrics["seconds"] >= 0 and metrics["cores"] >= 1
    assert checks_of(metrics) == judge(Settings(), {"0": {"found": [0.5]}})
    assert (tmp_path / "here" / "settings.json").exists() and (tmp_path / "here" / "figures" / "line.png").exists()
    out = capsys.readouterr().out
    assert "what was found" in out and "holds" in out and "0.4 to 0.6" in out

    (tmp_path / "here" / "figures" / "line.png").unlink()
    assert main(["report", "here"]) == 0
    assert (tmp_path / "here" / "figures" / "line.png").exists() and "what was found" in capsys.readouterr().out


def test_a_missed_bound_is_exit_code_1_also_where_a_number_is_not_finite(capsys):
    assert main(["verify", "dummy", "--set", "value=2.0"]) == 1
    assert "MISSED" in capsys.readouterr().out
    assert main(["verify", "dummy", "--set", "value=2.0"]) == 1, "also where it is finished and only looked up"
    out = capsys.readouterr().out
    assert "MISSED" in out and "finished" in out
    assert not Check("nan", float("nan"), at_least=0.0).passed and not Check("nan", float("nan")).passed


def test_what_is_finished_is_not_computed_again_save_by_other_code(monkeypatch):
    assert main(["verify", "dummy", "--out", "here"]) == 0
    assert main(["verify", "dummy", "--out", "here"]) == 0
    assert computed == [0, 1]
    monkeypatch.setattr("diffphys.verification.case.code_identity", lambda measure: "other code")
    assert main(["verify", "dummy", "--out", "here"]) == 0
    assert computed == [0, 1, 0, 1]


OUTSIDE = """
from pathlib import Path

from diffphys.verification import Check, verification
from tests.verification.test_cases import Settings


def measure(settings, parts):
    with Path("computed").open("a") as file:
        file.write("once ")
    return {"found": settings.value}


def judge(settings, results):
    return [Check("found", results["found"], at_most=1.0)]


PROGRAM = verification("outside", Settings, {"quick": {}}, measure, judge, lambda settings, results: {})
"""


def test_a_case_of_another_package_is_run_by_its_name_and_again_when_its_file_has_changed(
    tmp_path, monkeypatch, capsys
):
    file, described = tmp_path / "outside_case.py", tmp_path / "outside-1.0.dist-info"
    file.write_text(OUTSIDE)
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[diffphys.verification]\noutside = outside_case:PROGRAM\n")
    monkeypatch.syspath_prepend(tmp_path)
    for names, name in ((CASES.__dict__, "known"), (sys.modules, "outside_case")):
        monkeypatch.setitem(names, name, None)  # so that what comes to stand there is taken away again
    del CASES.__dict__["known"]
    for text, times in ((OUTSIDE, 1), (OUTSIDE, 1), (f"{OUTSIDE}# changed\n", 2)):
        file.write_text(text)
        monkeypatch.delitem(sys.modules, "outside_case")
        assert main(["verify", "outside"]) == 0
        assert (tmp_path / "computed").read_text().split() == ["once"] * times
    assert main(["list"]) == 0 and "from outside" in capsys.readouterr().out


def test_a_killed_case_goes_on_with_the_pieces_it_lacks(monkeypatch, tmp_path):
    def killed(settings, parts):
        parts("piece-0", lambda: {"found": [0.25]})
        raise KeyboardInterrupt

    case = CASES.load("dummy")
    monkeypatch.setattr(sys.modules["dummy_case"], "PROGRAM", dummy_case(killed))
    assert main(["verify", "dummy"]) == 130
    monkeypatch.setattr(sys.modules["dummy_case"], "PROGRAM", case)
    out = tmp_path / "runs" / "verify" / "dummy"
    piece = out / "parts" / "piece-0.json"
    piece.write_text(json.dumps(json.loads(piece.read_text()) | {"seconds": 100.0}))
    assert main(["verify", "dummy"]) == 0
    assert computed == [1]
    assert json.loads((out / "metrics.json").read_text())["seconds"] >= 100.0


def test_other_settings_have_a_directory_of_their_own(tmp_path):
    assert main(["verify", "dummy"]) == 0
    assert main(["verify", "dummy", "--set", "pieces=1"]) == 0
    assert main(["verify", "dummy", "--preset", "quick"]) == 0
    names = {path.name for path in (tmp_path / "runs" / "verify").iterdir()}
    assert names == {"dummy", "dummy,pieces=1", "dummy,quick"}


def test_all_cases_end_in_a_summary(monkeypatch, capsys):
    for name in [name for name in CASES.entries if name != "dummy"]:
        monkeypatch.delitem(CASES.entries, name)
    assert main(["verify", "--out", "all"]) == 0
    out = capsys.readouterr().out
    assert "1 of 1" in out and "verification" in out


@pytest.mark.parametrize(
    "words, said",
    [
        ("verify dumy", ['no verification "dumy"', 'did you mean "dummy"']),
        ("verify dummy --set vlaue=1", ['"vlaue"', 'did you mean "value"']),
        ("verify dummy --set pieces=0", ['"pieces"', "at least 1"]),
        ("verify dummy --preset quik", ['no preset "quik"', 'did you mean "quick"']),
        ("verify --set pieces=1", ["--set needs a NAME"]),
        ("verify taylor-green --set levels=16", ['"levels"', "2 or more increasing"]),
        ("verify cylinder --set pulse=0", ['"pulse"', "not zero"]),
        ("verify conservation --set cells=12", ['"cells"', "2 or 3"]),
        ("verify smoke --set cells=6", ['"cells"', "2 or 3"]),
        ("verify poiseuille --set axis=2", ['"axis"', "at most 1"]),
        ("verify adjoints --set names=curls", ['"curls"', 'did you mean "curl"']),
    ],
)
def test_a_mistake_is_one_line_that_names_it(words, said, capsys, tmp_path):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    for word in said:
        assert word in captured.err
    assert list(tmp_path.iterdir()) == []


def test_every_listed_case_is_there_under_its_name_with_a_quick_preset_and_sources():
    for name in CASES.entries:
        if name != "dummy":
            case = CASES.load(name)
            assert case.name == name and "quick" in case.presets and case.sources
            assert case.settings.__doc__


def test_errors_of_round_off_have_no_order_and_are_held_to_it():
    sizes = [1 / 8, 1 / 16]
    assert order_check("o", "order", sizes, [4e-2, 1e-2], at_least=1.9).passed
    assert not order_check("o", "order", sizes, [4e-2, 2e-2], at_least=1.9).passed
    assert order_check("o", "order", sizes, [3e-16, 5e-16], at_least=1.9).passed
    assert not order_check("o", "order", sizes, [3e-16, 5e-11], at_least=1.9).passed


def test_heat_runs_quickly_and_holds():
    assert main(["verify", "heat", "--preset", "quick"]) == 0


@pytest.mark.slow
def test_spectral_runs_quickly_and_holds():
    assert main(["verify", "spectral", "--preset", "quick"]) == 0
