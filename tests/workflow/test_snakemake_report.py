"""Reports beside the report: a comparison with another run, and Snakemake's own in a browser."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from workflow.conftest import Workflow

pytestmark = [pytest.mark.workflow, pytest.mark.browser]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
EXPECTED = {
    "Cost": {
        "Before the first result": ["Start and memory"],
        "Time and memory": ["Time against memory and start"],
        "Until it has paid": ["Until the start has paid"],
    },
    "Numerics": {"Training": ["Loss curves"]},
    "Speed": {
        "Absolute times": [
            "Distribution of latencies",
            "Latency and throughput against batch size",
        ],
        "Against eager": ["Modes by models", "Runs over time", "Speed-up over eager"],
        "All cases": ["Every figure of every case"],
    },
}


def contents(page: Page) -> dict[str, dict[str, list[str]]]:
    """Walk through every category and subcategory, and return what each lists."""
    found: dict[str, dict[str, list[str]]] = {}
    for category, subcategories in EXPECTED.items():
        found[category] = {}
        for subcategory in subcategories:
            page.reload()
            page.get_by_text(category, exact=True).click()
            if len(subcategories) > 1:  # a single one is opened with its category
                page.get_by_text(subcategory, exact=True).click()
            cells = page.locator("tbody tr td:first-child")
            cells.first.wait_for()
            found[category][subcategory] = [text.strip() for text in cells.all_inner_texts()]
    return found


def test_the_rule_compares_with_the_run_that_base_names(finished: Workflow) -> None:
    ran = finished.smoke("reports/comparison.html", "--config", "base=results")
    assert ran.returncode == 0, ran.stdout
    told = (finished.folder / "reports/comparison.md").read_text(encoding="utf-8")
    # Of cases that a busy machine left without a verdict, that much cannot be said.
    assert "Nothing changed." in told or "Nothing is shown to be slower." in told
    assert "slower" not in told.partition("| case |")[2]


def test_html_and_zip_open_and_hold_every_figure_under_its_category(
    finished: Workflow, tmp_path: Path
) -> None:
    for name in ("snakemake.html", "snakemake.zip"):
        ran = finished.smoke("--report", f"reports/{name}")
        assert ran.returncode == 0, ran.stdout
    with zipfile.ZipFile(finished.folder / "reports/snakemake.zip") as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "unpacked")
    single = finished.folder / "reports/snakemake.html"
    (unpacked,) = (tmp_path / "unpacked").rglob("report.html")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert executable is not None, "this test needs Chromium: apt-get install -y chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page()
        faults: list[str] = []
        requests: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(single.as_uri())
        assert contents(page) == EXPECTED
        page.goto(unpacked.as_uri())
        page.get_by_text("Numerics", exact=True).click()
        row = page.locator("tbody tr", has_text="Loss curves")
        row.locator("button, a").first.click()
        assert page.locator("img").first.evaluate(
            "image => image.decode().then(() => image.naturalWidth)"
        )
        browser.close()
    assert faults == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
