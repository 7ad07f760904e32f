"""The app in a real browser: what is typed is priced to the dollar; nothing leaves the machine."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from record_factory import house_price_records, make_record
from torch.nn import functional as F
from trained_run import MODES, write_trained_run

from torchmodes.results.records import write_record

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
START_S = 60


@dataclass(frozen=True)
class Served:
    """An app that runs, the folder whose results it shows, and what it prints."""

    address: str
    folder: Path
    log: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("app") / "a run"
    folder.mkdir()
    write_trained_run(folder)
    for record in house_price_records():
        write_record(record, folder / record.identity.record)
    log = folder / "app.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app/main.py")]
    with log.open("w") as printed:
        process = subprocess.Popen(
            [*command, "--server.port", str(port)],
            cwd=folder,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://localhost:{port}"
        _wait_until_it_answers(f"{address}/_stcore/health", process, log)
        yield Served(address, folder, log)
    finally:
        process.kill()  # a browser that has not gone yet keeps a server from ending by itself
        process.wait()


def _wait_until_it_answers(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text()}")


class Opened:
    """A page of the app, and every host it asked for something."""

    def __init__(self, browser: Browser, served: Served) -> None:
        self.page = browser.new_page(viewport={"width": 1440, "height": 900})
        self.errors: list[str] = []
        self.outside: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, served.address))
        self.page.goto(served.address)

    def _note(self, url: str, address: str) -> None:
        own = (address, address.replace("http", "ws"), "data:", "blob:")
        if not url.startswith(own):
            self.outside.append(url)


@pytest.fixture
def opened(browser: Browser, served: Served) -> Iterator[Opened]:
    opened = Opened(browser, served)
    yield opened
    opened.page.close()
    assert opened.errors == []
    assert opened.outside == []


def price_by_hand(folder: Path, mode: str, values: list[float]) -> float:
    """Evaluate a mode's weights layer by layer."""
    described = json.loads((folder / "results/data/statistics.json").read_text())
    weights = torch.load(folder / f"results/training/{mode}/model/weights.pt", weights_only=True)
    scores = [
        (value - column["mean"]) / column["standard_deviation"]
        for value, column in zip(values, described["features"], strict=True)
    ]
    x = torch.tensor([scores], dtype=torch.float32)
    for layer in (0, 2, 4):
        x = F.linear(x, weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"])
        x = x.relu() if layer < 4 else x
    return x.item() * described["target"]["standard_deviation"] + described["target"]["mean"]


def settled(page: Page) -> None:
    """Wait until the app has nothing more to do."""
    expect(page.get_by_test_id("stApp")).to_have_attribute(
        "data-test-script-state", "notRunning", timeout=30_000
    )


def inputs(page: Page) -> list[float]:
    found = page.locator("[data-testid=stNumberInput] input").all()
    return [float(one.input_value()) for one in found]


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("combobox", name=re.compile(label)).click()
    page.get_by_role("option", name=option, exact=True).click()
    settled(page)


def test_every_page_opens_and_fits_a_phone(opened: Opened, served: Served) -> None:
    """First in this file: a page must also open by its address, on an app just started."""
    page = opened.page
    seen = {
        "": "inductor-step",
        "inspect": "a tensor of one row",
        "profiles": "profiled",
    }
    page.set_viewport_size({"width": 390, "height": 844})
    for path, text in seen.items():
        page.goto(f"{served.address}/{path}")
        expect(page.get_by_text(re.compile(text)).first).to_be_attached(timeout=30_000)
        settled(page)
        assert page.get_by_test_id("stException").count() == 0
        sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(sideways) <= 0
        for figure in page.get_by_test_id("stImage").all():
            box = figure.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 390
    assert "External" not in served.log.read_text(), "it asked nobody for its own address"


def test_every_modes_price_is_its_models_to_the_dollar(opened: Opened, served: Served) -> None:
    page = opened.page
    page.goto(f"{served.address}/predict")
    price = page.get_by_test_id("stMetricValue").first
    expect(price).to_be_visible(timeout=30_000)
    income = page.get_by_role("spinbutton", name=re.compile("Area Income"))
    income.fill("71234")
    income.press("Enter")
    expect(income).to_have_value("71234")
    settled(page)
    for mode in MODES:
        choose(page, "Training mode", mode)
        values = inputs(page)
        assert values[0] == 71_234
        by_hand = f"${price_by_hand(served.folder, mode, values):,.0f}"
        expect(price).to_have_text(by_hand)
    expect(page.get_by_text("a TorchScript archive").first).to_be_visible()


def test_the_row_and_the_mode_stay_from_page_to_page(opened: Opened, served: Served) -> None:
    page = opened.page
    page.goto(f"{served.address}/predict")
    income = page.get_by_role("spinbutton", name=re.compile("Area Income"))
    income.fill("71234", timeout=30_000)
    income.press("Enter")
    settled(page)
    choose(page, "Training mode", "fx")
    values = inputs(page)
    assert values[0] == 71_234
    for name in ("Inspect", "Predict"):
        page.get_by_role("link", name=name).click()
        expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=30_000)
        settled(page)
        assert inputs(page) == values
        expect(page.get_by_role("combobox", name=re.compile("Training mode"))).to_have_value("fx")


def test_what_records_and_files_say_is_shown_as_text(opened: Opened, served: Served) -> None:
    """Nothing that a folder from elsewhere says is obeyed; `opened` sees that no host is asked."""
    said = (
        "![x](http://evil.example/a.png) [go](http://evil.example) https://evil.example"
        " a@evil.example :smile: :material/home: :red[r] $x^2$ <img src=http://evil.example/b.png>"
    )
    record = make_record(
        "inference/cpu/other/eager/fp32-b8", environment={"machine": {"host": said}}
    )
    path = served.folder / record.identity.record
    write_record(record, path)
    metrics = served.folder / "results/training/told/metrics.json"
    metrics.parent.mkdir()
    told = {"mode": "told", "status": "failed", "reason": said, "remedy": said}
    metrics.write_text(json.dumps(told))
    try:
        for address, kind in (("", "stCaptionContainer"), ("predict", "stAlert")):
            opened.page.goto(f"{served.address}/{address}")
            if not address:
                opened.page.get_by_text("Why", exact=True).click(timeout=30_000)
            place = opened.page.get_by_test_id(kind).filter(has_text="evil.example").first
            expect(place).to_be_visible(timeout=30_000)
            settled(opened.page)
            assert said in place.inner_text().replace("\N{WORD JOINER}", "")
            assert place.locator("a, img, .katex, [style*=color]:not(svg *)").count() == 0
    finally:
        path.unlink()
        shutil.rmtree(metrics.parent)
