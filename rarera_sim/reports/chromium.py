"""Pictures and PDF by a Chromium without a window: what draws a figure on a page draws it to a file, word for word.

Kaleido would do the same with a Chromium that it downloads. Here the one of the system is used, and where there is
none, `BadInput` says so; nothing else of a report needs it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from rarera_sim.core.errors import BadInput

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
VARIABLE = "RARERA_CHROMIUM"
Kind = Literal["png", "svg"]

_OPTIONS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-pdf-header-footer",
    "--hide-scrollbars",
)
# A page gets as much of its own time to draw, which passes as fast as the machine can.
_BUDGET = 20_000  # ms
_PATIENCE = 300.0  # s, for a machine with other work


def chromium() -> Path | None:
    """The Chromium or Chrome of this system; $RARERA_CHROMIUM names another one. None where there is none."""
    named = os.environ.get(VARIABLE)
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, PROGRAMS)), None)
    return Path(found) if found else None


def write_pdf(page: str, path: str | os.PathLike[str]) -> Path:
    """Print a page of HTML to a PDF, as its own style for paper wants it."""
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="rarera-") as folder:
        source, target = Path(folder) / "page.html", Path(folder) / "page.pdf"
        source.write_text(page, encoding="utf-8")
        _run(folder, f"--print-to-pdf={target}", source.as_uri())
        if not target.is_file():
            raise BadInput(f"{path} was not printed: Chromium made no PDF")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(target.read_bytes())
    return path


def images(
    figures: Mapping[str, go.Figure],
    kind: Kind = "png",
    *,
    width: int = 1000,
    scale: float = 2.0,
    ground: str | None = None,
) -> dict[str, bytes]:
    """Figures as pictures, by name, all in one go.

    Parameters
    ----------
    kind
        "png" or "svg".
    width
        In pixels; a figure knows its height.
    scale
        Pixels of the picture per pixel of the figure, for PNG.
    ground
        A colour behind the figure; transparent where it is left out.
    """
    if kind not in ("png", "svg"):
        raise BadInput(f"a picture must be png or svg, got {kind!r}")
    drawn = []
    for name, figure in figures.items():
        height = int(figure.layout.height or 450)
        picture = {"format": kind, "width": width, "height": height, "scale": scale if kind == "png" else 1}
        parts = json.loads(figure.to_json())
        if ground is not None:
            parts["layout"]["paper_bgcolor"] = ground
        drawn.append({"name": name, "figure": {"data": parts["data"], "layout": parts["layout"]}, "picture": picture})
    with tempfile.TemporaryDirectory(prefix="rarera-") as folder:
        source = Path(folder) / "figures.html"
        source.write_text(_page(drawn), encoding="utf-8")
        text = _run(folder, "--dump-dom", source.as_uri())
    _, begin, rest = text.partition(_BEGIN)
    answer, end, _ = rest.partition(_END)
    if not begin or not end:
        raise BadInput("Chromium drew no figures: it gave no answer in time")
    answers = json.loads(base64.b64decode(answer))
    for name, url in answers.items():
        if not url.startswith("data:"):
            raise BadInput(f"figure {name!r} could not be drawn: {url}")
    return {name: _content(url) for name, url in answers.items()}


def write_image(
    figure: go.Figure, path: str | os.PathLike[str], *, width: int = 1000, scale: float = 2.0, ground: str | None = None
) -> Path:
    """Write a figure as a picture; the end of the path says which kind, .png or .svg."""
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise BadInput(f"a picture's path must end in .png or .svg, got {str(path)!r}")
    content = images({"figure": figure}, "svg" if kind == "svg" else "png", width=width, scale=scale, ground=ground)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content["figure"])
    return path


_BEGIN, _END = "[drawn:", ":drawn]"


def _page(drawn: object) -> str:
    """A page that draws, then is nothing but its answer, so that the answer is all there is to read."""
    # As in the report: nothing in the data or the library can end the script element.
    data = json.dumps(drawn).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    library = get_plotlyjs().replace("</script", "<\\/script")
    return f"""<!doctype html><meta charset="utf-8"><body><script>{library}</script><script>
(async () => {{
  const answers = {{}};
  for (const each of {data}) {{
    try {{ answers[each.name] = await Plotly.toImage(each.figure, each.picture); }}
    catch (error) {{ answers[each.name] = String(error); }}
  }}
  const bytes = new TextEncoder().encode(JSON.stringify(answers));
  let binary = "";
  for (let k = 0; k < bytes.length; k += 8192) binary += String.fromCharCode(...bytes.subarray(k, k + 8192));
  document.documentElement.innerHTML = "<body>{_BEGIN}" + btoa(binary) + "{_END}</body>";
}})();
</script>"""


def _content(url: str) -> bytes:
    about, _, content = url.partition(",")
    return base64.b64decode(content) if about.endswith(";base64") else unquote_to_bytes(content)


def _run(folder: str, *arguments: str) -> str:
    program = chromium()
    if program is None:
        raise BadInput(
            f"no Chromium or Chrome was found, which pictures and PDF need; install one, or name it by ${VARIABLE}"
        )
    # As root Chromium starts without its sandbox only, which the pages made here, without any network, can do without.
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    command = [
        str(program),
        *_OPTIONS,
        *sandbox,
        f"--user-data-dir={folder}/profile",
        f"--virtual-time-budget={_BUDGET}",
        *arguments,
    ]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True)
    except subprocess.TimeoutExpired:
        raise BadInput(f"{program} did not answer within {_PATIENCE:g} s") from None
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()
        raise BadInput(f"{program} failed: {words[-1] if words else f'exit code {error.returncode}'}") from None
    return done.stdout.decode("utf-8", errors="replace")
