"""`rarera app`: the panels as a dashboard in the browser."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import click

from rarera_sim.core.errors import BadInput

LOOPBACK = "127.0.0.1"
PAGES = Path(__file__).parent.parent / "reports"
# Voila loads an icon font from elsewhere, and an extension might load more: the browser is told to fetch nothing that
# does not come from here. Widgets need scripts in the page, from blobs and strings; the kernel speaks by WebSocket.
NOTHING_FROM_ELSEWHERE = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' data: blob: ws://127.0.0.1:* ws://localhost:*; frame-ancestors 'self'"
)


@click.command(
    epilog="""\b
Examples:
  rarera app                                     the main job's scenario
  rarera app mine.toml --log out/log.sqlite      a scenario and a log of your own
  rarera app --no-browser --port 8877            say where it is, and open nothing
""",
)
@click.argument("scenario", required=False, metavar="[FILE.toml]")
@click.option("--log", metavar="LOG", help="Path or URL of a log to look into.")
@click.option("--port", default=8866, type=click.IntRange(1, 65535), show_default=True, metavar="N")
@click.option("--theme", default="light", type=click.Choice(["light", "dark"]), show_default=True)
@click.option("--no-browser", is_flag=True, help="Open no browser; the address is printed.")
@click.option("--no-token", is_flag=True, help="Let everybody on this machine in.")
def app(scenario: str | None, log: str | None, port: int, theme: str, no_browser: bool, no_token: bool) -> None:
    """Show the panels as a dashboard, for people without notebooks. Needs the extra app.

    It listens on this machine alone, and whoever opens it needs the token in the address that is printed.
    """
    if find_spec("voila") is None:
        raise BadInput("the dashboard needs the extra app: pip install 'rarera-sim[app]'")
    from rarera_sim.reports.panels.dashboard import FOLDER, LOG, SCENARIO

    if scenario is not None:
        from rarera_sim.experiments.scenario import load_scenario

        load_scenario(scenario)  # a bad one is refused here, and not on a page
        os.environ[SCENARIO] = str(Path(scenario).absolute())
    if log is not None:
        os.environ[LOG] = log if "://" in log else str(Path(log).absolute())
    # The kernel of the page starts in the folder of the notebook; what is saved belongs where the person is.
    os.environ[FOLDER] = str(Path.cwd())
    from voila.app import Voila

    class Dashboard(Voila):  # type: ignore[misc]
        """Voila with pages of our own."""

        def setup_template_dirs(self) -> None:
            super().setup_template_dirs()
            self.template_paths.insert(0, str(PAGES / "voila"))

    Dashboard.launch_instance(
        arguments(port=port, theme=theme, browser=not no_browser, token=not no_token),
        tornado_settings={"headers": {"Content-Security-Policy": NOTHING_FROM_ELSEWHERE}},
    )


def arguments(*, port: int, theme: str, browser: bool, token: bool) -> list[str]:
    """What Voila is told.

    >>> arguments(port=8866, theme="dark", browser=False, token=True)[1:]
    ['--Voila.ip=127.0.0.1', '--port=8866', '--theme=dark', '--Voila.auto_token=True', '--no-browser']
    """
    switches = [str(PAGES / "dashboard.ipynb"), f"--Voila.ip={LOOPBACK}", f"--port={port}", f"--theme={theme}"]
    return switches + (["--Voila.auto_token=True"] if token else []) + ([] if browser else ["--no-browser"])
