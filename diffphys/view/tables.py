"""Settings and results as HTML. What stands in files is text, never markup."""

import base64
from collections.abc import Mapping
from html import escape
from typing import Any

from diffphys.runs.settings import written
from diffphys.view.stored import PICTURES, StoredRun


STYLE = """<style>
  table { border-collapse: collapse; font-size: 14px; margin: 0 0 1em 0; }
  th, td { padding: 3px 12px 3px 0; text-align: left; border-bottom: 1px solid #8883; vertical-align: top;
           overflow-wrap: anywhere; }
  th { font-weight: 600; }
  td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
  tr.differs td { background: #f0c80033; }
  .bk-clearfix { display: block !important; max-width: 100%; }
  .wide { overflow-x: auto; }
  img { max-width: 100%; height: auto; display: block; margin: 0 0 1.5em 0; background: white; }
  h3 { font-size: 15px; margin: 1em 0 0.4em 0; overflow-wrap: anywhere; }
  p { font-size: 14px; max-width: 60em; }
</style>"""


def settings_html(runs: list[StoredRun]) -> str:
    """What runs were made with, a column each; where they differ the row is marked."""
    described = [_described(run) for run in runs]
    names = list(dict.fromkeys(name for one in described for name in one))
    head = "".join(f"<th>{escape(run.name)}</th>" for run in runs)
    rows = []
    for name in names:
        cells = [one.get(name, "") for one in described]
        differs = ' class="differs"' if len(set(cells)) > 1 else ""
        rows.append(f"<tr{differs}><td>{escape(name)}</td>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return f'{STYLE}<div class="wide"><table><tr><th>setting</th>{head}</tr>{"".join(rows)}</table></div>'


def results_html(runs: list[StoredRun]) -> str:
    """The table, the single numbers and the pictures of each run."""
    parts = [STYLE]
    for run in runs:
        parts.append(f"<h3>{escape(run.name)}</h3>")
        table, metrics = run.table(), run.metrics()
        numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        figures = run.figures()
        if not (table or numbers or figures):
            parts.append("<p>No results yet.</p>")
        parts.append(_table_html(table) or _numbers_html(numbers))
        for name, content in figures.items():
            kind = PICTURES[name[name.rindex(".") :]]
            data = base64.b64encode(content).decode()
            parts.append(f'<img alt="{escape(name)}" title="{escape(name)}" src="data:{kind};base64,{data}">')
    return "".join(parts)


def _described(run: StoredRun) -> dict[str, str]:
    known = run.description
    first = {"program": known.program, "preset": known.preset, "seed": str(known.seed)}
    first["state"] = "finished" if known.finished else "not finished"
    return first | {name: written(value) for name, value in known.settings.items()}


def _table_html(table: Mapping[str, Any]) -> str:
    try:
        head = "".join(f"<th>{escape(column['heading'])}</th>" for column in table["columns"])
        rows = ["".join(f'<td class="number">{escape(cell)}</td>' for cell in row) for row in table["rows"]]
        caption = f"<p>{escape(table['caption'])}</p>" if table["caption"] else ""
    except (KeyError, TypeError, AttributeError):
        return ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>{caption}'


def _numbers_html(numbers: Mapping[str, float]) -> str:
    rows = [f'<tr><td>{escape(name)}</td><td class="number">{value:.4g}</td></tr>' for name, value in numbers.items()]
    return f"<table>{''.join(rows)}</table>" if rows else ""
