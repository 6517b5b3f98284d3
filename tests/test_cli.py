"""The command line: every mistake is one line on standard error with exit code 2, and a finished run stays as it is."""

import dataclasses
import errno
import io
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from diffphys.cli import CATALOGS, main
from diffphys.errors import InputError
from diffphys.experiments import EXPERIMENTS
from diffphys.experiments.comparison import Budget, in_short
from diffphys.runs import Entry, Program, Run


@pytest.fixture(autouse=True)
def dummy(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "runs"))
    monkeypatch.setitem(EXPERIMENTS.entries, "dummy", Entry("dummy_experiment", "A map for the tests [1]."))
    monkeypatch.chdir(tmp_path)


def short(*words):
    return main(["run", "dummy", "--preset", "short", *words])


def test_run_writes_everything_and_a_finished_run_stays_as_it_is(tmp_path, capsys):
    assert short("--set", "starts=0.25,0.5", "--seed", "7") == 0
    directory = tmp_path / "runs" / "dummy-short,seed=7,starts=0.25,0.5"
    described = json.loads((directory / "settings.json").read_text())
    assert (described["seed"], described["settings"]["starts"], described["finished"]) == (7, [0.25, 0.5], True)
    assert (directory / "figures" / "final.png").exists() and (directory / "checkpoints" / "state.checkpoint").exists()
    assert "mean" in json.loads((directory / "metrics.json").read_text())
    out = capsys.readouterr().out
    assert "published" in out and "0.5" in out and "metrics.json" in out and "final.png" in out

    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.*") if path.name not in ("settings.json",)}
    assert short("--set", "starts=0.25,0.5", "--seed", "7") == 0
    assert "finished" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_report_makes_the_figures_again(tmp_path, capsys):
    assert short("--out", "here") == 0
    figure = tmp_path / "here" / "figures" / "final.png"
    content = figure.read_bytes()
    figure.unlink()
    assert main(["report", "here"]) == 0
    assert figure.read_bytes() == content


def test_list_names_every_experiment_on_a_line(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name, listed in EXPERIMENTS.entries.items():
        assert [line for line in out.splitlines() if line.split()[:1] == [name] and line.endswith(listed.summary)]


def test_every_listed_experiment_is_there_under_its_name():
    for name in EXPERIMENTS.entries:
        experiment = EXPERIMENTS.load(name)
        assert experiment.name == name and "demo" in experiment.presets
        if issubclass(experiment.settings, Budget):  # not so many seconds as the neighbors leave
            assert experiment.choose("demo").clock == "processor"


@pytest.mark.parametrize("name, having", [("dummy", ["run"]), ("wake", ["run", "bench"]), ("heat", ["verify"])])
def test_list_describes_a_program_of_every_kind_that_has_it(name, having, capsys):
    assert main(["list", name]) == 0
    out = capsys.readouterr().out
    for catalog in CATALOGS.values():
        assert (f"diffphys {catalog.command} {name}" in out.splitlines()) == (catalog.command in having)
        if catalog.command in having:
            program = catalog.load(name)
            assert catalog.known[name].summary in out and program.settings_in_words() in out


@pytest.mark.parametrize(
    "words, completed",
    [
        ("r", ["run", "report"]),
        ("run du", ["dummy"]),
        ("run dummy --pre", ["--preset"]),
        ("run dummy --preset ", ["demo", "short"]),
        ("run dummy --preset sh", ["short"]),
        ("run dummy --set st", ["starts="]),
        ("run nobody --set st", []),
        ("verify tay", ["taylor-green"]),
        ("bench w", ["wake"]),
        ("list du", ["dummy"]),
    ],
)
def test_the_shell_completes_commands_names_presets_and_settings(words, completed, monkeypatch, capsys):
    for name, value in (
        ("_DIFFPHYS_COMPLETE", "complete_bash"),
        ("COMP_WORDS", f"diffphys {words}"),
        ("COMP_CWORD", str(len(words.split(" ")))),
    ):
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert set(capsys.readouterr().out.split()) == set(completed)


def test_completion_is_installed_for_the_shell(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: ("bash", "/bin/bash"))
    assert main(["--install-completion"]) == 0
    assert "bash completion installed" in capsys.readouterr().out
    (installed,) = (tmp_path / ".bash_completions").iterdir()
    assert "_DIFFPHYS_COMPLETE" in installed.read_text() and str(installed) in (tmp_path / ".bashrc").read_text()


@pytest.mark.parametrize(
    "words, said",
    [
        ("", ["Missing command"]),
        ("rnu", ["rnu"]),
        ("run", ["Missing argument 'name'"]),
        ("run dumy", ['no experiment "dumy": did you mean "dummy"? (known: ']),
        ("run zzz", ['no experiment "zzz" (known: ']),
        ("run heat", ['no experiment "heat"; `diffphys verify heat` runs it']),
        ("verify heat-inverse --help", ['no verification "heat-inverse"; `diffphys run heat-inverse` runs it']),
        ("run dummy extra", ["extra"]),
        ("run dummy --prset demo", ["--prset", "--preset"]),
        ("run dummy --preset dmo", ['no preset "dmo"', 'did you mean "demo"']),
        ("run dummy --seed -1", ["--seed", "0"]),
        ("run dummy --seed one", ["--seed", "integer"]),
        ("run dummy --seed 4294967296", ["--seed"]),
        ("run dummy --set updtes=3", ['"updtes"', 'did you mean "updates"']),
        ("run dummy --set updates=0", ['"updates"', "a whole number at least 1", '"0"']),
        ("run dummy --set growth=5", ['"growth"', "a number above 0.0 and at most 4.0"]),
        ("run dummy --set noise=pink", ['"noise"', "one of: normal, uniform"]),
        ("run dummy --set updates", ['"updates"', "key=value"]),
        ("run dummy --set", ["--set"]),
        ("report", ["Missing argument 'directory'"]),
        ("report nowhere", ['"nowhere" holds no run']),
        ("list dumy", ['"dumy"', 'did you mean "dummy"']),
    ],
)
def test_a_mistake_is_one_line_that_names_it(words, said, capsys, tmp_path):
    assert main(words.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1 and captured.err.startswith("diffphys: ")
    for word in said:  # Typer's versions write names in small or large letters
        assert word.lower() in captured.err.lower()
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


def test_the_directory_of_another_run_is_refused(capsys):
    assert short("--out", "here") == 0
    capsys.readouterr()
    assert short("--out", "here", "--set", "updates=4") == 2
    assert "there updates is 3, here 4" in capsys.readouterr().err
    assert short("--out", "here", "--set", "pause=0.001") == 0
    assert "finished" in capsys.readouterr().out


def test_report_of_a_run_that_has_not_got_far(capsys):
    settings = EXPERIMENTS.load("dummy").choose("short", [])
    with Run.open("here", "dummy", "short", settings, 0):
        pass
    assert main(["report", "here"]) == 2
    assert "holds no metrics yet" in capsys.readouterr().err


def test_a_disk_that_fills_up_is_one_line(monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "data.zarr")

    monkeypatch.setattr(Run, "write_metrics", full)
    assert short() == 2
    err = capsys.readouterr().err.splitlines()
    assert 'full, so "data.zarr" could not be written' in err[-1] and "Traceback" not in "".join(err)


def test_too_little_memory_is_one_line(monkeypatch, capsys):
    import jax.numpy as jnp

    monkeypatch.setattr(Run, "write_metrics", lambda *_, **__: jnp.zeros(10**14).block_until_ready())
    assert short() == 2
    err = capsys.readouterr().err.splitlines()
    assert "not enough memory: 4e+05 GB were asked for at once" in err[-1] and "Traceback" not in "".join(err)

    def broken(*_, **__):
        raise RuntimeError("something else")

    monkeypatch.setattr(Run, "write_metrics", broken)
    with pytest.raises(RuntimeError, match="something else"):
        short("--out", "other")


def test_presets_are_checked_when_an_experiment_is_made():
    dummy = EXPERIMENTS.load("dummy")
    with pytest.raises(InputError, match='no setting "updats"'):
        Program("other", dummy.settings, {"demo": {"updats": 3}}, dummy.run, dummy.report)


def test_the_module_is_the_command_and_listing_does_not_wait_for_jax():
    program = "import sys, diffphys.cli; code = diffphys.cli.main(['list']); sys.exit(code or 'jax' in sys.modules)"
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
    shown = subprocess.run([sys.executable, "-m", "diffphys", "--help"], cwd=root, capture_output=True, text=True)
    assert shown.returncode == 0 and "report" in shown.stdout


@pytest.mark.parametrize("command", [["run", "dummy", "--help"], ["run", "--help", "--preset", "short", "dummy"]])
def test_help_of_a_program_lists_its_settings_and_presets(command, capsys):
    assert main(command) == 0
    out = capsys.readouterr().out
    for words in (
        "updates = 100\n      how many updates\n      accepts a whole number at least 1\n",
        "starts = 0.2,0.7\n      where it starts\n      accepts one or more numbers separated by commas, each at least",
        "noise = normal\n      kind of noise\n      accepts one of: normal, uniform\n",
        "changes no result",
        "demo: the defaults",
        "short: updates=3",
        "--seed",
    ):
        assert words in out


@pytest.mark.parametrize(
    "command, name", [(catalog.command, name) for catalog in CATALOGS.values() for name in catalog.entries]
)
def test_every_program_says_what_its_settings_mean(command, name, capsys):
    catalog = next(one for one in CATALOGS.values() if one.command == command)
    program = catalog.load(name)
    assert program.name == name and catalog.preset in program.presets
    assert main([command, name, "--help"]) == 0
    out = capsys.readouterr().out
    for field in dataclasses.fields(program.settings):
        assert f"  {field.name} = " in out and field.metadata["rule"].help
    for preset in program.presets:
        assert f"  {preset}: " in out


def test_help_without_a_name_is_that_of_the_command_and_a_wrong_name_is_named(capsys):
    assert main(["run", "--help"]) == 0
    assert "--preset" in capsys.readouterr().out
    assert main(["verify", "haet", "--help"]) == 2
    assert 'did you mean "heat"' in capsys.readouterr().err


def test_the_version_is_that_of_the_package(capsys):
    import diffphys

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffphys {diffphys.__version__}\n"
    assert diffphys.__version__ == metadata.version("diffphys")


ROOT = Path(__file__).parents[1]


def test_a_finished_experiment_shows_its_whole_table_again(capsys):
    words = ["run", "oscillators", *("--set", "updates=2"), *("--set", "samples=512"), *("--set", "arms=adam")]
    words += ["--set", "steps=2", "--set", "seeds=3"]
    shown = []
    for _ in range(2):
        assert main(words) == 0
        shown.append(capsys.readouterr().out.splitlines())
    assert [line for line in shown[1] if "finished" not in line] == shown[0]
    assert any(line.strip(" │┃|").startswith("adam") for line in shown[0])
    directory = next(Path("runs").iterdir())
    (directory / "table.json").unlink()  # as an earlier version left it
    assert main(words) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "finished" not in line] == shown[0]


def test_an_arm_that_is_not_finite_says_so():
    assert in_short(None) == in_short(float("nan")) == in_short(float("inf")) == "not finite" and in_short(0.5) == "0.5"


def test_toy_trajectories_that_leave_the_plane(capsys):
    assert main(["run", "toy-trajectories", "--set", "descent_rate=1e30"]) == 0
    assert "not finite" in capsys.readouterr().out


def test_a_terminal_of_ascii_characters_only(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", out)
    assert main(["run", "toy-trajectories", "--out", "außen"]) == 0
    out.flush()
    shown = out.buffer.getvalue().decode("ascii")  # pyright: ignore[reportAttributeAccessIssue]
    assert "gradient-descent" in shown and "au?en" in shown and "+--" in shown


@pytest.mark.parametrize("words", [["list"], ["--help"]])
def test_a_reader_that_leaves_early_is_no_mistake(words):
    reading, writing = os.pipe()
    os.close(reading)  # nobody reads from the first byte on, as in `diffphys list | true`
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "diffphys", *words]
    found = subprocess.run(command, env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")


def test_every_run_has_a_directory_of_its_own_and_finds_it_again(tmp_path, capsys):
    for words in ([], ["--seed", "1"], ["--set", "updates=2"], ["--set", "updates=4", "--seed", "1"]):
        for again in (False, True):
            # What changes no result, or is the preset's own value, is no other run.
            assert short(*words, "--set", "save_every=1.0", "--set", "noise=normal") == 0
            assert ("finished" in capsys.readouterr().out) == again
    names = {path.name for path in (tmp_path / "runs").iterdir()}
    seeded = "dummy-short,seed=1"
    assert names == {"dummy-short", seeded, "dummy-short,updates=2", f"{seeded},updates=4"}
    long = ",".join(["0.125"] * 100)
    assert short("--set", f"starts={long}") == 0 and short("--set", f"starts={long},0.5") == 0
    assert len(list((tmp_path / "runs").iterdir())) == 6


def test_a_run_says_at_its_start_where_it_writes_and_how_long_it_takes(monkeypatch, capsys):
    said = []
    program = dataclasses.replace(
        EXPERIMENTS.load("dummy"),
        run=lambda settings, run: said.append(capsys.readouterr().err) or run.write_metrics({"mean": 1.0}),
        report=lambda run: None,
        duration=lambda run: "at most a minute",
    )
    monkeypatch.setattr("dummy_experiment.PROGRAM", program)
    assert short() == 0
    assert len(said[0].splitlines()) == 1
    for words in ("dummy, short", str(Path("runs") / "dummy-short"), "at most a minute", "compiling"):
        assert words in said[0]


def test_published_numbers_beside_other_settings_are_marked(capsys):
    program = EXPERIMENTS.load("toy-trajectories")
    assert program.differing("paper", program.choose("paper")) == {}
    assert main(["run", "toy-trajectories"]) == 0
    assert "this run differs" not in capsys.readouterr().out
    for _ in range(2):
        assert main(["run", "toy-trajectories", "--set", "iterations=3"]) == 0
        assert "Published numbers belong to --preset paper; this run differs in: iterations." in capsys.readouterr().out
