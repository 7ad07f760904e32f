"""The report in a real browser: readable on a laptop and a phone, sortable, offline, quiet."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, expect
from profile_factory import CHANGE, ROOFLINE, a_profile
from record_factory import house_price_records, make_generation, make_record, make_training

from torchmodes.report.comparison.changes import compare
from torchmodes.report.comparison.pages import write_comparison
from torchmodes.report.comparison.runs import ComparedRun
from torchmodes.report.data import make_report_data
from torchmodes.report.html import write_report

pytestmark = pytest.mark.browser
LAPTOP, TABLET, PHONE = (1440, 900), (768, 1024), (390, 844)
PAPER: ViewportSize = {"width": 718, "height": 1047}
"""A4 less a margin of a centimetre, in CSS pixels."""
WIDTHS = (390, 600, 768, 960, 1024, 1160, 1280, 1440)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    case = "inference/cpu/a-model-with-a-rather-long-name/{}/fp32-b8"
    records = [
        *house_price_records(),
        make_record(case.format("eager")),
        make_record(case.format("fx"), status="failed"),
        make_record(case.format("torchscript-trace-optimize-for-inference"), speed_up=2.2),
    ]
    trainings = [make_training("eager"), make_training("fx")]
    data = make_report_data(
        records, trainings=trainings, profiles=[a_profile()], roofline=ROOFLINE, diffs=[CHANGE]
    )
    write_report(data, path)
    return path


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generation") / "report.html"
    case = "generation/cpu/gpt2/{}/fp32-b4"
    told = make_generation()
    modes = [
        make_record(case.format(mode), item="token", speed_up=1.2).model_copy(
            update={"generation": told}
        )
        for mode in ("inductor-reduce-overhead", "onnxruntime")
    ]
    write_report(make_report_data([make_record(case.format("eager")), *modes]), path)
    return path


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    there, here = house_price_records(), house_price_records()
    here[1] = make_record(here[1].identity, status="failed", reason="a reason " * 20)
    here[2] = make_record(here[2].identity, speed_up=0.9, seed=70)
    runs = [
        ComparedRun(name, {record.identity: record for record in records})
        for name, records in (("a/long/path/" * 9 + "results", there), ("results", here))
    ]
    history = [*runs, runs[0]]
    write_comparison(compare(*runs), html=path, markdown=path.with_suffix(".md"), history=history)
    return path


on_laptop_and_phone = pytest.mark.parametrize(
    "opened", [LAPTOP, PHONE], ids=["laptop", "phone"], indirect=True
)


class Opened:
    """A page, and everything it said or asked for while it was open."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        self.noise: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.noise.append(message.text))
        page.on("pageerror", lambda error: self.noise.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())


@pytest.fixture
def opened(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Opened]:
    width, height = getattr(request, "param", LAPTOP)
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
    opened = Opened(page, report)
    yield opened
    page.close()
    assert opened.noise == []
    outside = [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))]
    assert outside == []


def column(page: Page, number: int) -> list[str]:
    """Return what is seen in a column of the table of all cases."""
    cells = page.locator(f"#cases tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


@on_laptop_and_phone
def test_nothing_overflows_sideways_and_every_answer_is_on_the_first_screen(
    opened: Opened,
) -> None:
    page = opened.page
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(sideways) == 0
    assert page.viewport_size is not None
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    assert page.evaluate("document.documentElement.scrollHeight") < 10_000, "most is folded"
    if (width, height) == LAPTOP:
        cut_off = page.locator("nav.sections ol").evaluate("s => s.scrollWidth - s.clientWidth")
        assert cut_off == 0, "every section can be read in the navigation"
    for shown in ("th", ".pick", "td:nth-child(3)"):
        answers = page.locator(f".answer-table tbody {shown}").all()
        assert len(answers) == 2, "a row for each of two models"
        for answer in answers:
            box = answer.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= height
            assert box["x"] < width - 60
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(sideways) == 0
    assert page.locator(".plot svg").count() >= 6
    for figure in page.locator(".plot svg:visible").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["width"] > 300
        assert box["x"] + box["width"] <= page.evaluate("document.documentElement.clientWidth")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong."""
    return [
        f"{violation['id']}: {node['html'][:200]}"
        for violation in Axe().run(page).response["violations"]
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "opened", [LAPTOP, TABLET, PHONE], ids=["laptop", "tablet", "phone"], indirect=True
)
def test_axe_finds_nothing(opened: Opened, theme: Literal["light", "dark"]) -> None:
    opened.page.emulate_media(color_scheme=theme)
    opened.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert violations(opened.page) == []


@pytest.mark.parametrize("size", [LAPTOP, PHONE], ids=["laptop", "phone"])
def test_the_comparison_is_as_readable_sortable_and_quiet(
    browser: Browser, comparison: Path, size: tuple[int, int]
) -> None:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    opened = Opened(page, comparison)
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(sideways) == 0
    assert violations(page) == []
    assert column(page, 1)[0] == "inductor"  # what is lost comes first
    page.get_by_role("button", name="Mode").click()
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)
    assert page.locator(".plot svg:visible").count() == 2
    page.close()
    assert opened.noise == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []


@on_laptop_and_phone
def test_the_table_sorts_by_number_and_by_word_and_back(opened: Opened) -> None:
    page = opened.page
    speed_up = page.locator("#cases").get_by_role("button", name="Speed-up")
    position = 1 + page.locator("#cases thead th").all_inner_texts().index("Speed-up")
    speed_up.click()
    rising = [float(t.partition("×")[0]) for t in column(page, position) if t != "—"]
    assert rising == sorted(rising)
    assert column(page, position)[-1] == "—"
    head = page.locator(f"#cases thead th:nth-child({position})")
    assert head.get_attribute("aria-sort") == "ascending"
    speed_up.press("Enter")  # by keyboard too
    falling = [float(t.partition("×")[0]) for t in column(page, position) if t != "—"]
    assert falling == sorted(rising, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    page.locator("#cases").get_by_role("button", name="Mode", exact=True).click()
    assert column(page, 1) == sorted(column(page, 1), key=str.lower)


@on_laptop_and_phone
def test_the_table_filters_by_facet_and_by_text_and_resets(opened: Opened) -> None:
    page = opened.page
    everything = len(column(page, 1))
    page.get_by_label("Result").select_option("failed")
    assert column(page, 1) == ["fx"]
    assert page.locator("#shown").inner_text() == f"1 of {everything} cases"
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#shown")).to_have_text(f"{everything} cases")
    page.get_by_label("Find").fill("INDUCTOR")
    assert sorted(column(page, 1)) == ["inductor", "inductor-step"]
    page.locator("#filters [name=mode]").select_option("inductor")
    assert column(page, 1) == ["inductor"]


def test_a_link_carries_the_filters_and_they_drive_tables_and_figures(
    opened: Opened, report: Path
) -> None:
    page = opened.page
    page.locator("#filters [name=model]").select_option("house_price")
    page.locator("#filters [name=mode]").select_option("inductor")
    assert page.url.endswith("?model=house_price&mode=inductor")
    page.goto(page.url)
    assert page.locator("#filters [name=model]").input_value() == "house_price"
    assert column(page, 1) == ["inductor"]
    assert page.locator("#ship .answer-table tbody tr:visible").count() == 1
    assert page.locator("#cost tbody tr:visible").count() == 1
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    titles = page.locator("#cost details[data-model] > summary:visible").all_inner_texts()
    assert [title.strip() for title in titles] == ["house_price · training · cpu"]
    page.get_by_role("button", name="Reset").click()
    expect(page.locator("#ship .answer-table tbody tr:visible")).to_have_count(2)
    assert page.url == report.as_uri()
    page.goto(f"{report.as_uri()}?model=nonsense&nothing=1")
    expect(page.locator("#shown")).to_have_text(f"{len(column(page, 1))} cases")


def test_the_filters_dim_the_rows_of_the_forest_plot(opened: Opened) -> None:
    page = opened.page
    dimmed = "parts => parts.map(p => [p.dataset.case.split('/')[3], getComputedStyle(p).opacity])"
    forest = page.locator("#ship .plot svg [data-case]")
    assert {opacity for _, opacity in forest.evaluate_all(dimmed)} == {"1"}
    page.locator("#filters [name=mode]").select_option("inductor")
    seen = dict(forest.evaluate_all(dimmed))
    assert seen.pop("inductor") == "1"
    assert set(seen.values()) == {"0.12"}
    page.get_by_role("button", name="Reset").click()
    page.get_by_label("Find").fill("inductor-step")  # the text drives other tables too
    assert dict(forest.evaluate_all(dimmed))["inductor"] == "0.12"
    for table in page.locator("#cost table").all():
        assert table.locator("tbody tr:not([hidden])").count() == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_no_card_is_cut_off_at_any_width(browser: Browser, generation: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(generation.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    over = "found => found.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.className)"
    cards = page.locator(":root, section, .beside, .answers, .answer, .picks, .plot")
    assert cards.evaluate_all(over) == []
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_sections_and_answers_are_whole_or_show_that_they_go_on(
    browser: Browser, generation: Path, report: Path, width: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    hidden = "e => e.scrollWidth - e.clientWidth"
    for path in (generation, report):
        page.goto(path.as_uri())
        assert page.locator("nav.sections ol").evaluate(hidden) == 0
        last = page.locator("nav.sections a").last.bounding_box()
        assert last is not None
        assert last["x"] + last["width"] <= width, "the last section can be read"
        answers = page.locator(".scroll", has=page.locator(".answer-table"))
        assert width < 1024 or answers.evaluate(hidden) == 0, "every column from a laptop on"
        if answers.evaluate(hidden) == 0:
            expect(answers).not_to_have_attribute("data-more", "")
            continue
        expect(answers).to_have_attribute("data-more", "")
        assert "inset" in answers.evaluate("e => getComputedStyle(e).boxShadow")
        answers.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        expect(answers).not_to_have_attribute("data-more", "")
        first = page.locator(".answer-table tbody th").first.bounding_box()
        assert first is not None
        assert 0 <= first["x"] < 40, "what a row is about stays"
    page.close()


def test_the_answer_leads_to_the_row_of_its_case(opened: Opened) -> None:
    page = opened.page
    page.locator(".answer-table .pick a", has_text="inductor-step").click()
    row = page.locator("tr:target")
    assert row.get_attribute("id") == "training/cpu/house_price/inductor-step/fp32-b2048"
    assert "inductor-step" in row.inner_text()


def test_the_csv_downloads(opened: Opened) -> None:
    with opened.page.expect_download() as waiting:
        opened.page.get_by_text("Download all as CSV").click()
    assert waiting.value.suggested_filename == "summary.csv"
    assert waiting.value.path().read_text().startswith("task,device,model,mode")


@on_laptop_and_phone
def test_the_theme_follows_the_system_and_then_the_reader(opened: Opened) -> None:
    page = opened.page
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert dark != light
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(background) == light
    page.reload()
    assert page.evaluate(background) == light, "the choice is kept"
    ink = "getComputedStyle(document.querySelector('.plot svg text')).fill"
    on_light = page.evaluate(ink)
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(background) == dark
    assert page.evaluate(ink) != on_light, "figures change with the page"


def test_the_keyboard_reaches_skip_link_and_controls_with_visible_focus(opened: Opened) -> None:
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    for _ in range(4):
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_it_prints_with_everything_open(opened: Opened) -> None:
    pdf = opened.page.pdf(format="A4")
    assert len(pdf) > 20_000
    assert opened.page.evaluate(
        "[...document.querySelectorAll('details')].every((details) => details.open)"
    )


def test_on_paper_no_table_is_cut_off_and_a_figure_is_with_its_caption(
    browser: Browser, report: Path, generation: Path
) -> None:
    page = browser.new_page(viewport=PAPER)
    page.emulate_media(media="print")
    for path in (report, generation):
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        wider = (
            "found => found.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)"
        )
        assert page.locator(".scroll").evaluate_all(wider) == []
        for figure in page.locator(".plot").all():
            box = figure.bounding_box()
            assert box is not None
            assert box["height"] <= PAPER["height"], "it fits a page, and is not broken"
            assert figure.evaluate("e => getComputedStyle(e).breakInside") == "avoid"
            assert figure.locator("figcaption").count() == figure.locator("svg").count() == 1
        narrow = (
            "found => found.filter(e => e.offsetWidth < 76 && e.textContent.trim().length > 40)"
        )
        of_two_cm = page.locator("td").evaluate_all(f"{narrow}.map(e => e.textContent)")
        assert of_two_cm == []
    page.close()


def test_it_reads_without_scripts(browser: Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False, color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".answer-table").get_by_text("inductor-step").is_visible()
    assert not page.locator("#filters").is_visible()
    address = page.get_by_text("Download all as CSV").get_attribute("href") or ""
    assert b"inductor-step" in base64.b64decode(address.partition("base64,")[2])
    context.close()
