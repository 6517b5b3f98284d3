"""Runs in a browser, from what is on disk: fields over time, curves as they grow, settings and results side by side.

`serve` opens the page, as `diffphys view [DIR]` does. It only reads, listens on this machine alone (127.0.0.1), and
shows nothing that lies outside of the directory: no request names a file, and no symbolic link is followed. The page
is Bokeh's (extra `view`).
"""

from diffphys.view.server import serve
from diffphys.view.stored import StoredRun, find_runs


__all__ = ["serve", "find_runs", "StoredRun"]
