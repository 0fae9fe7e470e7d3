"""The documentation is built without a warning, shows what notebooks have stored, and asks no network for anything."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(
    find_spec("sphinx") is None or find_spec("myst_nb") is None, reason="needs the group docs: `make setup` brings it"
)
# What a browser would load by itself; a link that somebody has to click is none of it.
LOADED = re.compile(r"""<(?:script|img|iframe)\b[^>]*\bsrc=["'](?:https?:)?//|<link\b[^>]*\bhref=["'](?:https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All but the API, which takes minutes; `make site` builds the whole."""
    out = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-c", "docs", "-t", "short", "-W", "--keep-going", "-q"]
    # Doctrees beside the pages, so that the checkout stays as it is.
    built = subprocess.run(
        [*words, "-d", str(out / "doctrees"), ".", str(out / "html")], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return out / "html"


def test_every_document_and_notebook_is_a_page(site: Path) -> None:
    for folder, pattern in (("docs", "*.md"), ("docs/howto", "*.md"), ("notebooks", "*.ipynb")):
        for source in (ROOT / folder).glob(pattern):
            assert (site / folder / source.with_suffix(".html").name).is_file()


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []
    assert LOADED.search('<script defer src="https://cdn.example/x.js"></script>'), "what is looked for is found"


def test_stored_figures_are_in_the_pages(site: Path) -> None:
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        stored = source.read_text(encoding="utf-8").count('"application/vnd.plotly.v1+json"')
        page = (site / "notebooks" / source.with_suffix(".html").name).read_text(encoding="utf-8")
        assert page.count('class="stored-figure"') == page.count("data-figure=") == stored
    assert (site / "_static" / "plotly.min.js").stat().st_size > 1_000_000


@pytest.mark.browser
def test_figures_are_drawn_offline(site: Path, chromium: str) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((site / "notebooks" / "00_tour.html").as_uri())
        figure = page.locator(".stored-figure").first
        figure.scroll_into_view_if_needed()
        page.wait_for_selector(".stored-figure .main-svg", timeout=120_000)
        assert figure.get_attribute("aria-label"), "it has words for those who cannot see it"
        assert errors == []
        browser.close()
