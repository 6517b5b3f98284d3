"""`diffphys bench`: every benchmark runs at its smallest size and writes numbers that can be right."""

import json
import sys

import pytest

from diffphys.benchmarks import BENCHMARKS, Row
from diffphys.benchmarks.benchmark import markdown
from diffphys.benchmarks.page import write_page
from diffphys.benchmarks.peers import Peer, peer_rows
from diffphys.cli import main


@pytest.mark.parametrize("name", ["wake", "poisson"])
def test_a_benchmark_writes_table_figure_and_numbers(name, tmp_path, capsys):
    out = tmp_path / name
    assert main(["bench", name, "--preset", "quick", "--out", str(out)]) == 0
    found = json.loads((out / "results.json").read_text())
    assert found["machine"]["cores"] >= 1 and "jax" in found["machine"]["versions"]
    for row in found["rows"]:
        assert 0 < row["fastest"] <= row["milliseconds"]
        assert row["compile_seconds"] > 0 and row["error"] < 1e-4
    assert (out / "table.md").read_text().count("\n| ") >= len(found["rows"])
    assert name in capsys.readouterr().out
    assert main(["report", str(out)]) == 0
    write_page(tmp_path / "docs", [out])
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert f"## {name}" in page and page.count("\n| ") >= len(found["rows"])


def test_all_are_listed_and_load(capsys):
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    for name in BENCHMARKS.entries:
        assert name in listed and BENCHMARKS.load(name).name == name


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["bench", "wakes"], "wakes"),
        (["bench", "wake", "--set", "lengths=0"], "lengths"),
        (["bench", "wake", "--preset", "tiny"], "tiny"),
        (["bench", "periodic", "--set", "peers_python=nowhere"], "peers_python"),
        (["bench", "--set", "seconds=1"], "NAME"),
        (["bench", "--profile"], "NAME"),
        (["bench", "memory", "--profile"], "memory"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments, words, capsys):
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert words in message and message.count("\n") == 1


def test_ratios_stand_beside_the_times_of_others():
    rows = [Row("64x32", 2048, "step", milliseconds=0.5), Row("64x32", 2048, "step", "PhiFlow 3.4.0", 5.0)]
    lines = markdown(rows).splitlines()
    assert lines[0] == "| case | what | who | ms, median | diffphys is faster by |"
    assert lines[3] == "| 64x32 | step | PhiFlow 3.4.0 | 5 | 10.0x |"


def test_a_peer_answers_from_a_process_of_its_own(tmp_path, monkeypatch, capfd):
    """A stand-in for a peer, that runs in turns; one that fails says so and is left out."""
    from diffphys.benchmarks import peers

    serving = (peers.SCRIPTS / "serving.py").read_text()
    (tmp_path / "serving.py").write_text(serving)
    (tmp_path / "good.py").write_text(
        "from serving import serve\nserve(lambda wanted: ('Good 1', {'step': lambda: print(wanted)}, 0.5))\n"
    )
    (tmp_path / "bad.py").write_text("raise RuntimeError('not today')\n")
    monkeypatch.setattr(peers, "SCRIPTS", tmp_path)
    monkeypatch.setattr(peers, "MODULES", {"good": "json", "bad": "json"})
    with peer_rows(Peer("good", {"n": 1}, sys.executable), Peer("bad", {})) as (programs, errors):
        assert list(programs) == [("Good 1", "step")] and errors == {"Good 1": 0.5}
        assert 0 <= programs["Good 1", "step"]() < 10
    assert "bad cannot run: RuntimeError: not today" in capfd.readouterr().err
