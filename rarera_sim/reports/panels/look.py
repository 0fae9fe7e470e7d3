"""How panels look: one style sheet in the page's own colours, and the pieces of HTML that panels are made of."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import anywidget
import ipywidgets as widgets

# JupyterLab and Voila set these variables in light and in dark; what follows a comma is for pages that do not.
STYLE = """<style>
.rarera { --ink: var(--jp-ui-font-color1, #222); --faint: var(--jp-ui-font-color2, #666);
  --line: var(--jp-border-color2, #ccc); --ground: var(--jp-layout-color1, #fff);
  --bad: var(--jp-error-color1, #c62828); color: var(--ink); max-width: 1400px; }
.rarera .widget-html-content, .rarera .jupyter-widgets:not(.jupyter-button) { color: var(--ink); }
.rarera .widget-html, .rarera .widget-html-content { line-height: 1.4; }
.rarera h2, .rarera h3 { margin: .2em 0 .3em; font-size: 1.25em; color: var(--ink); }
.rarera h3 { font-size: 1.05em; }
.rarera p { margin: .2em 0; }
.rarera table.rarera-table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .2em 0 .6em; }
.rarera table.rarera-table caption { text-align: left; font-weight: 600; white-space: nowrap;
  padding: .2em 0; color: var(--ink); }
.rarera table.rarera-table th, .rarera table.rarera-table td { padding: .15em .7em; text-align: right;
  border-bottom: 1px solid var(--line); white-space: nowrap; color: var(--ink); background: transparent; }
.rarera table.rarera-table th:first-child, .rarera table.rarera-table td:first-child,
.rarera table.rarera-table .text { text-align: left; }
.rarera table.rarera-table tr.now td { font-weight: 700; }
.rarera table.rarera-table tr.later td { color: var(--faint); }
.rarera .rarera-note { color: var(--faint); font-size: .92em; white-space: nowrap; }
.rarera .rarera-bad { color: var(--bad); font-weight: 600; }
.rarera .rarera-scroll { overflow-x: auto; }
.rarera .rarera-refused input { border: 2px solid var(--bad); }
[data-jp-theme-light="false"] .rarera { color-scheme: dark; }
.rarera .jupyter-button.mod-primary:disabled { color: var(--ink); background: transparent;
  box-shadow: inset 0 0 0 1px var(--line); }
.rarera select { appearance: auto; background-image: none; }
.rarera pre { white-space: pre-wrap; margin: .3em 0; color: var(--ink); background: transparent; }
.rarera textarea { font-family: var(--jp-code-font-family, monospace); }
.rarera :focus-visible { outline: 2px solid var(--jp-brand-color1, #1976d2); outline-offset: 1px; }
.rarera .jupyter-widget-Accordion, .rarera .jupyter-widget-Collapse { color: var(--ink); }
</style>"""

WIDE = {"width": "100%"}
OWN_WIDTH = {"width": "auto", "align_self": "flex-start"}  # of its words, where a column would stretch it


class Care(anywidget.AnyWidget):
    """Does in the page what the widgets around it leave undone.

    Handles of sliders get the name of their control, which ipywidgets gives to none of them; figures take the width of
    their place once they have one, at first and when a hidden tab is opened.
    """

    _esm = """
    export default { render({ el }) {
      const known = new WeakMap();
      const sizes = new ResizeObserver(entries => {
        const wider = entries.filter(each => known.get(each.target) !== each.contentRect.width);
        wider.forEach(each => known.set(each.target, each.contentRect.width));
        if (wider.some(each => each.contentRect.width > 0)) window.dispatchEvent(new Event("resize"));
      });
      let panel = null, waits = 0;
      const look = () => {
        waits = 0;
        for (const plot of panel.querySelectorAll(".js-plotly-plot")) sizes.observe(plot.parentElement);
        for (const handle of panel.querySelectorAll(".noUi-handle:not([aria-label])")) {
          const own = handle.closest(".widget-slider")?.querySelector(".widget-label")?.textContent;
          const row = handle.closest(".widget-hbox")?.querySelector(".widget-label")?.textContent;
          if (own || row) handle.setAttribute("aria-label", own || row);
        }
      };
      const changes = new MutationObserver(() => { waits ||= setTimeout(look, 200); });
      const start = () => {
        panel = el.closest(".rarera");
        if (!panel) { waits = setTimeout(start, 100); return; }
        changes.observe(panel, { childList: true, subtree: true });
        look();
      };
      start();
      return () => { clearTimeout(waits); changes.disconnect(); sizes.disconnect(); };
    } };
    """


class Panel(widgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """A column of widgets with the style of all panels."""

    def __init__(self, children: Sequence[Any]) -> None:
        style = widgets.HTML(STYLE, layout={"height": "0", "margin": "0"})
        super().__init__([style, Care(layout={"height": "0", "margin": "0"}), *children], layout=WIDE)
        self.add_class("rarera")


def note(text: str, *, bad: bool = False, title: str = "") -> str:
    """Small print beside a control; bad news is read out by screen readers at once."""
    said = escaped(text)
    about = f' title="{html.escape(title)}"' if title else ""
    return (
        f'<span class="rarera-note rarera-bad" role="alert"{about}>{said}</span>'
        if bad
        else f'<span class="rarera-note"{about}>{said}</span>'
    )


def escaped(text: object) -> str:
    """Text that may stand in HTML: names come from files."""
    return html.escape(str(text))


def status(text: str, *, bad: bool = False) -> str:
    """A line that screen readers read out when it changes."""
    role = 'role="alert" class="rarera-bad"' if bad else 'role="status" aria-live="polite"'
    return f"<p {role}>{escaped(text)}</p>"


def table(
    caption: str,
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    texts: Sequence[int] = (),
    marks: Sequence[str] = (),
) -> str:
    """A table in HTML.

    Parameters
    ----------
    texts
        Columns, from 0, that hold words and not numbers; the first does anyway.
    marks
        A class for each row: `now`, `later` or none.
    """
    head = "".join(f'<th scope="col"{_left(k, texts)}>{escaped(name)}</th>' for k, name in enumerate(headings))
    lines = []
    for number, row in enumerate(rows):
        mark = f' class="{marks[number]}"' if number < len(marks) and marks[number] else ""
        cells = "".join(f"<td{_left(k, texts)}>{escaped(cell)}</td>" for k, cell in enumerate(row))
        lines.append(f"<tr{mark}>{cells}</tr>")
    return (
        f'<div class="rarera-scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}">'
        f'<table class="rarera-table"><caption>{escaped(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _left(column: int, texts: Sequence[int]) -> str:
    return ' class="text"' if column in texts else ""
