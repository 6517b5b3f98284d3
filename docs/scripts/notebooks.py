"""Notebooks from scripts: `make notebooks`, or `python docs/scripts/notebooks.py NAME ...` for some of them.

Each script in docs/gallery and docs/notebooks, in the percent format of Jupytext, is executed and kept beside itself as
a notebook with its outputs, which GitHub and the site show as they are. A notebook remembers the digest of what it was
made from; a test compares it. Where only the text has changed, outputs are kept. Of what cells return pictures are
kept, no wider than a page and with 128 colors; numbers are printed. The first figure of the cell tagged `thumbnail`, or
the last of all, is also made small, for the index of the gallery.
"""

import base64
import hashlib
import io
import re
import sys
from pathlib import Path
from typing import Any


ROOT = Path(__file__).parents[2]
SCRIPTS = sorted([*(ROOT / "docs" / "gallery").glob("*.py"), *(ROOT / "docs" / "notebooks").glob("*.py")])
COLORS = 128
WIDEST = 760  # pixels, wider than the column of a page
THUMBNAIL = (360, 180)


def first_cell() -> str:
    """What a notebook begins with where the repository is known, since Colab has no diffphys; else nothing."""
    found = re.search(r"^repo_url: *(\S+)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    return f"# In Colab, once:\n# %pip install git+{found[1]}" if found else ""


def digest(script: Path) -> str:
    """Of all that the notebook of a script is made from."""
    return hashlib.sha256((script.read_text(encoding="utf-8") + first_cell()).encode()).hexdigest()


def make(script: Path) -> None:
    """Write the notebook of a script with its outputs, of before where its code is that of before."""
    import jupytext
    import nbclient
    import nbformat

    notebook, target = jupytext.read(script), script.with_suffix(".ipynb")
    old = nbformat.read(target, 4) if target.exists() else nbformat.v4.new_notebook()
    if [cell.source for cell in coded(notebook)] == [cell.source for cell in coded(old)]:
        for cell, before in zip(coded(notebook), coded(old), strict=True):
            cell.outputs, cell.execution_count = before.outputs, before.execution_count
    else:
        nbclient.NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": script.parent}}).execute()
        if script.parent.name == "gallery":
            write_thumbnail(notebook, script)
    clean(notebook)
    if begins := first_cell():
        notebook.cells.insert(1, nbformat.v4.new_code_cell(begins))
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "digest": digest(script),
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
    nbformat.write(notebook, target)


def coded(notebook: Any) -> list[Any]:
    """The cells of code, without the one that installs diffphys."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and not cell.source.startswith("# In Colab")]


def clean(notebook: Any) -> None:
    """Leave of the outputs what a reader looks at."""
    for cell in coded(notebook):
        cell.outputs = [
            one for one in cell.outputs if one.get("name") == "stdout" or "image/png" in one.get("data", ())
        ]
        for output in cell.outputs:
            if "data" in output:
                picture = smaller(base64.b64decode(output.data["image/png"]))
                output.data, output.metadata = {"image/png": base64.b64encode(picture).decode()}, {}


def write_thumbnail(notebook: Any, script: Path) -> None:
    """A small picture of the figure that stands for the page."""
    cells = coded(notebook)
    chosen = [cell for cell in cells if "thumbnail" in cell.metadata.get("tags", ())]
    outputs = [output.get("data", {}) for cell in chosen or cells for output in cell.outputs]
    figures = [data["image/png"] for data in outputs if "image/png" in data]
    target = script.parent / "thumbnails" / f"{script.stem}.png"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(smaller(base64.b64decode(figures[0 if chosen else -1]), THUMBNAIL))


def smaller(picture: bytes, size: tuple[int, int] | None = None) -> bytes:
    """A PNG with few colors, no wider than a page, or within a frame of this size on white if it is given."""
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    if size is not None:
        image = ImageOps.pad(image, size, Image.Resampling.LANCZOS, color="white")
    elif image.width > WIDEST:
        image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.LANCZOS)
    written = io.BytesIO()
    image.quantize(COLORS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    return written.getvalue()


if __name__ == "__main__":
    for one in SCRIPTS:
        if not sys.argv[1:] or one.stem in sys.argv[1:]:
            print(one.relative_to(ROOT), flush=True)
            make(one)
