"""The page in a real browser without a network: it draws, it answers, it asks for nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rarera_sim.reports.page import write_page

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def path(compare, tmp_path_factory):
    return write_page(compare(5, periods=96), tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def browser(chromium):
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture(scope="module", params=["light", "dark"])
def opened(request, browser, path):
    """The page, opened with the network off; what it asked for, and what it complained of."""
    context = browser.new_context(color_scheme=request.param, viewport={"width": 1200, "height": 900})
    context.set_offline(True)
    asked, complaints = [], []

    def refuse(route):
        asked.append(route.request.url)
        route.abort()

    context.route(lambda url: not url.startswith(("file:", "data:", "blob:")), refuse)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    for plot in page.locator(".plot").all():
        plot.locator(".main-svg").first.wait_for()
    yield SimpleNamespace(page=page, asked=asked, complaints=complaints, scheme=request.param)
    context.close()
    assert asked == [path.as_uri()], "asked for something later on"
    assert complaints == []


def colour(page, selector: str, name: str) -> tuple[float, ...]:
    """A computed colour as red, green, blue."""
    value = page.evaluate("([s, n]) => getComputedStyle(document.querySelector(s))[n]", [selector, name])
    return tuple(float(part) for part in value.split("(")[1].rstrip(")").split(",")[:3])


def luminance(rgb: tuple[float, ...]) -> float:
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_it_asks_for_nothing_and_complains_of_nothing(opened, path):
    assert opened.asked == [path.as_uri()]
    assert opened.complaints == []


def test_every_figure_is_drawn_within_its_place(opened):
    plots = opened.page.locator(".plot")
    assert plots.count() == 5
    for plot in plots.all():
        assert plot.locator(".trace").count() > 0
        place = plot.bounding_box()
        drawn = plot.locator(".main-svg").first.bounding_box()
        assert drawn["width"] <= place["width"] + 1
        assert drawn["height"] <= place["height"] + 1
    # No text of a figure is cut off at its edge.
    cut = """() => [...document.querySelectorAll('.plot')].flatMap(plot => {
        const edge = plot.getBoundingClientRect();
        return [...plot.querySelectorAll('.infolayer text, .cartesianlayer text')].filter(text => {
            const box = text.getBoundingClientRect();
            return box.width > 0 && (box.left < edge.left - 1 || box.right > edge.right + 1
                || box.top < edge.top - 1 || box.bottom > edge.bottom + 1);
        }).map(text => text.textContent);
    })"""
    assert opened.page.evaluate(cut) == []


def test_figures_answer_to_the_pointer_and_to_their_legend(opened):
    page = opened.page
    plot = page.locator("#response-time-by-quantile")
    plot.scroll_into_view_if_needed()
    star = plot.locator(".trace").last.locator(".point").first.bounding_box()
    page.mouse.move(star["x"] + star["width"] / 2, star["y"] + star["height"] / 2)
    page.wait_for_selector("#response-time-by-quantile .hoverlayer .hovertext")
    assert " s" in plot.locator(".hoverlayer .hovertext").first.text_content()
    plot.locator(".legendtoggle").first.click()
    plot.locator(".legend .traces[style*='opacity: 0.5']").wait_for()


def test_no_figure_can_be_sent_away(opened):
    titles = opened.page.evaluate("() => [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert any("Download" in title for title in titles)
    assert not any("Share" in title or "loud" in title for title in titles)


def test_words_can_be_read_on_the_ground_of_the_scheme(opened):
    ground = luminance(colour(opened.page, "body", "backgroundColor"))
    assert (ground < 0.2) == (opened.scheme == "dark")
    words = [
        ("body", "color"),
        ("figcaption", "color"),
        ("td.good", "color"),
        ("td.bad", "color"),
        ("td.open", "color"),
    ]
    words += [("a", "color"), (".xtick text", "fill"), (".legendtext", "fill"), (".xtitle", "fill")]
    for selector, name in words:
        ink = luminance(colour(opened.page, selector, name))
        contrast = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
        assert contrast >= 4.5, (selector, contrast)


def test_a_narrow_window_scrolls_its_tables_and_not_the_page(opened):
    opened.page.set_viewport_size({"width": 400, "height": 800})
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 400


def test_csv_comes_out_of_the_page(opened, tmp_path):
    with opened.page.expect_download() as waiting:
        opened.page.get_by_role("link", name="Results as CSV").click()
    assert waiting.value.suggested_filename == "flights-results.csv"
    waiting.value.save_as(tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().startswith("configuration,transport,policy,p50_s")


def test_on_paper_nothing_is_wider_than_the_paper(opened):
    page = opened.page
    page.set_viewport_size({"width": 680, "height": 960})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for svg in page.locator(".plot .main-svg").all():
        box = svg.bounding_box()
        assert box["width"] <= 680
        assert box["height"] <= 860
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.emulate_media(media="screen")
    assert page.evaluate("document.getElementById('backlog-and-replicas').layout.height") > 900
