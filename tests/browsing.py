"""What tests in a real browser share: servers and a Chromium that answer only this machine, and looking until."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
]
PATIENCE = 180_000  # ms until a test gives up: a loaded machine imports slowly,
ANSWERS = 90_000  # and answers sooner


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, host: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.settimeout(2.0)
        return probe.connect_ex((host, port)) == 0


@contextmanager
def servers(home: Path) -> Iterator[Callable[..., Path]]:
    """Starts `python -m` whatever, in a home of its own, and ends it with all that it started."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
    }

    def start(*command: str, folder: Path) -> Path:
        said = folder / "server.log"
        with said.open("wb") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command],
                    cwd=folder,
                    env=environment,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        return said

    try:
        yield start
    finally:
        for process in processes:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until(true: Callable[[], Any], page: Any, seconds: float = ANSWERS / 1000) -> Any:
    """What is true in the end; the page goes on meanwhile."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not happen"
        page.wait_for_timeout(50)
    return found


def points(panel: Any) -> int:
    """How many points the first line of its figure has, as the browser sees it."""
    found: int = panel.locator(".js-plotly-plot").first.evaluate("plot => plot.data?.[0]?.x?.length ?? 0")
    return found


def shot(place: Any, name: str) -> None:
    """A picture for whoever wants to look, in the folder that RARERA_SHOTS names."""
    if folder := os.environ.get("RARERA_SHOTS"):
        place.screenshot(path=Path(folder) / f"{name}.png")
