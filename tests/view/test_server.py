"""The server by itself: this machine only, nothing but the page, and the disk stays as it is."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from diffphys.cli import main
from diffphys.errors import InputError
from diffphys.view.server import _free


ROOT = Path(__file__).parents[2]
# What a shell starts in the background ignores Ctrl-C, and so does what it starts in turn; here it has its meaning.
INTERRUPTED = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("diffphys", run_name="__main__")
"""


@pytest.fixture
def address(runs):
    """A server in a process of its own."""
    pytest.importorskip("bokeh")
    command = [sys.executable, "-c", INTERRUPTED, "view", str(runs), "--no-browser", "--port", str(_free(None))]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            yield server.stdout.readline().split()[1]  # pyright: ignore[reportOptionalMemberAccess]
        finally:
            server.send_signal(signal.SIGINT)
            try:
                assert server.wait(20) == 0
            finally:
                server.kill()


def asked(address, path, **headers):
    """Status and body of a request whose path goes out as it stands here."""
    host, _, port = address.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=20)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    with contextlib.closing(connection):
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_no_request_reaches_a_file_and_no_foreign_page_the_session(address, runs):
    before = {path: path.lstat().st_mtime_ns for path in runs.rglob("*")}
    status, page = asked(address, "/")
    assert status == 200 and b"diffphys" in page and b"viewport" in page and b"://cdn" not in page

    (runs / "linked.txt").symlink_to(runs.parent / "secret.txt")
    absolute = str(runs.parent / "secret.txt")
    names = ["secret.txt", "linked.txt", "first/settings.json", "../secret.txt", absolute, f"/{absolute}", "etc/passwd"]
    ups = ["", "static/", "static/js/", "static/../", "static/extensions/", "components/", "runs/"]
    climbs = ["", "../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "..\\" * 12, "....//" * 12, "%00../"]
    for up in ups:
        for climb in climbs:
            for name in names:
                status, body = asked(address, f"/{up}{climb}{name}")
                found = (up, climb, name, status)
                assert status in (400, 403, 404) or (status == 500 and "%00" in climb), found
                assert b"the secret" not in body and b"root:" not in body and b'"rate"' not in body, found
    for path in ("/?run=../secret.txt", "/?arguments=/etc/passwd", "/ws", "/metadata", "/autoload.js", "/favicon.ico"):
        _, body = asked(address, path)
        assert b"the secret" not in body and b"root:" not in body

    (runs / "linked.txt").unlink()
    assert {path: path.lstat().st_mtime_ns for path in runs.rglob("*")} == before

    host, _, port = address.removeprefix("http://").partition(":")
    websocket = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    websocket |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    for origin in ("http://evil.example", f"http://evil.example:{port}", f"https://{host}.evil.example:{port}", "null"):
        assert asked(address, "/ws", Origin=origin, Host=f"{host}:{port}", **websocket)[0] == 403

    for other in {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
        if not other.startswith("127."):
            with socket.socket() as tried:
                assert tried.connect_ex((other, int(port))) != 0


def test_a_port_that_is_taken_and_a_directory_that_is_missing(runs, tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match="accepted"):
            _free(port)
        assert _free(None) not in (0, port)
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert "is no directory" in capsys.readouterr().err


def test_without_the_extra_one_sentence_says_how_to_install_it(runs, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    assert main(["view", str(runs), "--no-browser"]) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and 'pip install "diffphys[view]"' in error
