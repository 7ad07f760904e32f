"""One number for one thing: the page is searched for a quantity of a case that has two values."""

from __future__ import annotations

import re
from collections import defaultdict
from html.parser import HTMLParser

import pytest
from record_factory import house_price_records, make_record

from torchmodes.measure.combine import combine
from torchmodes.report.answer_table import HEADS
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.html import render_report
from torchmodes.results.records import Record

FIELDS = ("task", "device", "model", "mode", "precision", "batch_size")
NAMES = {
    "Against fp64": "against fp64",
    "Artefact": "artefact",
    "Cold start": "cold start",
    "Latency": "latency",
    "Eager beside it": "eager beside it",
    "Memory": "memory",
    "Parameters": "parameters",
    "Pays back": "break-even",
    "Pays back after": "break-even",
    "Peak memory": "memory",
    "Relative error": "error",
    "Speed-up": "speed-up",
    "Warm peak": "warm memory",
    "Warm start": "warm start",
}
"""What tables and cards call a quantity, and what it is."""
SPEED_UP, TIMES, STARTS, MEMORY, RIGHT, PAYS, NEXT = HEADS[2:]
BOUNDS = re.compile(r"\s*\((?:first )?[\d.,\u2009\u202f ]+(?:–| to )[^)]*\)")


class Told(HTMLParser):
    """Every table row and card of a page that is about a case, as the fields it names."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[tuple[dict[str, str], dict[str, str]]] = []
        self.cards: list[tuple[dict[str, str], str]] = []
        self.about: dict[str, str] = {}
        self.heads: list[str] = []
        self.cells: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = {name.removeprefix("data-"): value for name, value in attrs}
        if tag == "tr" and "case" in values:  # it follows the row of its case by that one's address
            values |= dict(zip(FIELDS, re.split(r"/|-b(?=\d+$)", values["case"]), strict=True))
        if "model" in values or tag == "tr":
            self.about = {name: values[name] for name in FIELDS if name in values}
        if tag == "table":
            self.heads = []
        if tag == "tr":
            self.cells = []
        if tag in ("th", "td", "article", "dt", "dd", "p", "h3"):
            self.text = [] if tag in ("th", "td", "article") else [*self.text, "\n"]

    def handle_data(self, text: str) -> None:
        self.text.append(text)

    def handle_endtag(self, tag: str) -> None:
        said = "".join(self.text).strip()
        if tag in ("th", "td"):
            self.cells.append(said)
        elif tag == "tr":
            if self.heads:
                self.rows.append((dict(self.about), dict(zip(self.heads, self.cells, strict=True))))
            else:
                self.heads = self.cells
        elif tag == "article":
            self.cards.append((dict(self.about), said))


class Values(defaultdict[tuple[str, str], set[str]]):
    """What was said of each quantity of each case, without its bounds."""

    def note(self, about: dict[str, str], name: str, quantity: str, said: str | None) -> None:
        """Keep a value; a dash says nothing."""
        value = BOUNDS.sub("", said or "").strip()
        if value and value != "—":
            self[f"{about['model']} {about['task']}: {name}", quantity].add(value)

    @property
    def contradictions(self) -> dict[tuple[str, str], set[str]]:
        """The quantities that have several values."""
        return {key: found for key, found in self.items() if len(found) > 1}


def values_on(page: str) -> Values:
    """Return every value that tables and cards of a page give to a quantity of a case."""
    found, told = Values(set), Told(page)
    for about, row in told.rows:
        if SPEED_UP in row:
            _of_answer(found, about, row)
        elif "mode" in about:
            for head in row.keys() & NAMES.keys():
                found.note(about, row["Mode"], NAMES[head], row[head])
    for about, text in told.cards:
        _of_card(found, about, text)
    return found


def _of_answer(found: Values, about: dict[str, str], row: dict[str, str]) -> None:
    name = row["ship"].removesuffix(", for now")
    found.note(about, name, "speed-up", row[SPEED_UP])
    *before, after = row[TIMES].split(" → ")
    found.note(about, name, "latency", after)
    found.note(about, name, "eager beside it", before[0] if before else None)
    cold, _, warm = row[STARTS].partition(" / ")
    found.note(about, name, "cold start", cold)
    found.note(about, name, "warm start", warm)
    *eager, own = row[MEMORY].split(" → ")
    found.note(about, name, "memory", own)
    found.note(about, "eager", "memory", eager[0] if eager else None)
    found.note(about, name, "break-even", row.get(PAYS))
    if off := re.search("off by ([^\n]*)", row.get(RIGHT, "")):
        found.note(about, name, "error", off[1])
    if second := re.fullmatch(r"(\S+)\n([\d.,]+×).*", row.get(NEXT, "")):
        found.note(about, second[1], "speed-up", second[2])


def _of_card(found: Values, about: dict[str, str], text: str) -> None:
    shipped = re.search(r"^Ship (.*)$", text, re.MULTILINE)
    if shipped is None:
        return
    name = shipped[1]
    for pattern, who, quantity in (
        (r"takes (.*?) where", name, "latency"),
        (r"where eager takes (.*?)\. ", name, "eager beside it"),
        (r"Cold start\s+(.*?) until", name, "cold start"),
        (r"is done, eager (.*?)(?:;|\n|$)", "eager", "cold start"),
        (r"; ([^;\n]*) once compiled", name, "warm start"),
        (r"Memory\s+(.*?) above", name, "memory"),
        (r"; ([^;\n]*) of a warm start", name, "warm memory"),
        (r"Pays back\s+(.*?)\n", name, "break-even"),
        (r"relative error (\S+(?:\s%)?), allowed", name, "error"),
        (r"instead of (.*?)\.\s", name, "cold start"),
    ):
        if said := re.search(pattern, text):
            found.note(about, who, quantity, said[1])
    if second := re.search(r"Next best\s+(\S+), (.*?×) ", text):
        found.note(about, second[1], "speed-up", second[2])


def in_runs(mode: str, *speed_ups: float, peak_mb: int) -> Record:
    """A case of ResNet50 that several processes measured, the first of them from a cold start."""
    runs = [
        make_record(
            f"inference/cpu/resnet50/{mode}/fp32-b1",
            speed_up=speed_up,
            noise=0.004,
            prepare_s=0.2 + 0.1 * len(mode),
            first_call_s=9.0 / (1 + number),
            peak_host_bytes=peak_mb * 10**6,
            seed=number + 7 * len(mode),
        )
        for number, speed_up in enumerate(speed_ups)
    ]
    return combine(runs)


def run(*, onnxruntime: float = 1.6, inductor: float = 1.3) -> ReportData:
    """Two models: one in processes of three, one with every engine of the default run."""
    return make_report_data(
        [
            *house_price_records(),
            in_runs("eager", 1.0, 1.001, 0.999, peak_mb=153),
            in_runs("onnxruntime", *(onnxruntime * f for f in (0.99, 1.0, 1.01)), peak_mb=450),
            in_runs("inductor", *(inductor * f for f in (0.99, 1.0, 1.01)), peak_mb=254),
        ]
    )


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(run())


def test_no_quantity_of_a_case_has_two_values_on_the_page(page: str) -> None:
    found = values_on(page)
    assert found.contradictions == {}
    of_pick = {quantity for case, quantity in found if case == "resnet50 inference: onnxruntime"}
    assert of_pick >= {"speed-up", "latency", "eager beside it", "cold start", "warm start"}
    assert of_pick >= {"memory", "warm memory", "break-even", "error"}, "it finds what it compares"


@pytest.mark.parametrize(
    ("there", "quantity"),
    [
        ("until the first call is done, eager ", "cold start"),
        ("where eager takes ", "eager beside it"),
        ("instead of ", "cold start"),
        ("Memory</dt><dd>", "memory"),
        ("preparing included; ", "warm memory"),
        ("; 5", "warm start"),
    ],
)
def test_a_contradiction_would_be_found(page: str, there: str, quantity: str) -> None:
    assert there in page
    wrong = page.replace(there, f"{there}1")
    assert quantity in {name for _, name in values_on(wrong).contradictions}


def test_swapped_records_swap_what_the_page_says(page: str) -> None:
    def told(page: str) -> dict[str, str]:
        rows = [row for _, row in Told(page).rows if SPEED_UP in row]
        return next(row for row in rows if row["one call of"].startswith("resnet50"))

    fast, swapped = told(page), told(render_report(run(onnxruntime=1.3, inductor=1.6)))
    assert (fast["ship"], fast[NEXT].splitlines()[0]) == ("onnxruntime", "inductor")
    assert (swapped["ship"], swapped[NEXT].splitlines()[0]) == ("inductor", "onnxruntime")
    assert fast[SPEED_UP].startswith("1.6")
    assert swapped[SPEED_UP].startswith("1.6")
    assert "450" in fast[MEMORY]
    assert "254" in swapped[MEMORY]
