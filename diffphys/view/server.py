"""The page on this machine's own address."""

import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

from diffphys.errors import InputError, optional
from diffphys.view.stored import find_runs


ADDRESS = "127.0.0.1"
USUAL_PORT = 5006


def serve(
    directory: str | Path = "runs",
    port: int | None = None,
    *,
    browser: bool = True,
    ready: Callable[[str], None] = print,
) -> None:
    """Show the runs in a directory in a browser, until the process is interrupted.

    Args:
        directory: Holds runs, at any depth; or is one.
        port: Where the page is, `http://127.0.0.1:PORT`. Default: 5006, or a free one where that is taken.
        browser: Whether to open a browser.
        ready: Called with the address once the page is there.

    Raises:
        InputError: where there is no such directory, the port is taken, or Bokeh is not installed.
    """
    find_runs(directory)  # a directory that is missing is refused before anything starts
    optional("view", "bokeh", "view")
    from bokeh.application import Application
    from bokeh.application.handlers import FunctionHandler
    from bokeh.server.server import Server

    from diffphys.view.page import page

    port = _free(port)
    server = Server(
        {"/": Application(FunctionHandler(page(directory)))},
        address=ADDRESS,
        port=port,
        # No other page that the reader has open, under whatever name, can talk to this one.
        allow_websocket_origin=[f"{ADDRESS}:{port}", f"localhost:{port}"],
    )
    address = f"http://{ADDRESS}:{port}"
    server.start()
    ready(address)
    if browser:
        server.io_loop.add_callback(webbrowser.open, address)
    try:
        server.io_loop.start()
    finally:
        server.stop()


def _free(port: int | None) -> int:
    """The port itself, if it is free; where none is asked for, the usual one or any."""
    for candidate in (USUAL_PORT, 0) if port is None else (port,):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((ADDRESS, candidate))
            except OSError as error:
                if port is not None:
                    raise InputError(
                        f"view: port {port} is taken ({error.strerror}); a free one is accepted."
                    ) from error
                continue
            return tried.getsockname()[1]
    raise InputError("view: no port of 127.0.0.1 is free.")
