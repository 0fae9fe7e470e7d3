"""Servers and a browser for the tests of one file."""

from __future__ import annotations

import browsing
import pytest


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Starts servers: `started("jupyterlab", ..., folder=folder)`."""
    with browsing.servers(tmp_path_factory.mktemp("home")) as start:
        yield start


@pytest.fixture(scope="module")
def browser(chromium):
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=browsing.SWITCHES)
        yield browser
        browser.close()
