"""What tests of several parts need."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium. Without one a test is skipped, saying so, or fails where a browser is required."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    missing = "no Chromium on this machine (chromium, chromium-browser, google-chrome)"
    if os.environ.get("RARERA_REQUIRE_BROWSER"):
        pytest.fail(f"{missing}, and RARERA_REQUIRE_BROWSER is set")
    pytest.skip(missing)


# How long an example takes says how busy the machine is, and nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
