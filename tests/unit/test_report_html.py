"""The page, the summary and the terminal, on every kind of run."""

from __future__ import annotations

import base64
import copy
import io
import json
import re
import time
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from profile_factory import ROOFLINE, a_profile
from record_factory import ENVIRONMENT, house_price_records, make_record, make_training
from rich.console import Console

from torchmodes.profiling.files import start_empty
from torchmodes.profiling.reading import read_profile
from torchmodes.report.data import ReportData, make_report_data
from torchmodes.report.html import render_report, write_report
from torchmodes.report.markdown import markdown_code, markdown_text, render_summary
from torchmodes.report.terminal import print_summary
from torchmodes.results.reading import Unreadable
from torchmodes.results.records import Energy, Failure

CASE = "training/cpu/house_price/{}/fp32-b2048"
HOSTILE = "<script>alert('x')</script> | **bold** [red]not rich[/red]\nsecond line"
VOID = {"meta", "link", "input", "br", "wbr", "path", "use", "rect"}


class Page(HTMLParser):
    """What a test asks of a page: headings, ids, sections, and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.sections: list[str] = []
        self.unlabelled: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        values = dict(attrs)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "section":
            self.sections.append(values["id"])
        if tag == "svg" and not values.get("aria-label"):
            self.unlabelled.append(tag)
        if tag == "th" and "scope" not in values:
            self.unlabelled.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def failed_run() -> ReportData:
    return make_report_data([make_record(CASE.format(m), status="failed") for m in ("eager", "fx")])


def two_machines() -> ReportData:
    other = copy.deepcopy(ENVIRONMENT)
    other["machine"]["host"] = "gpu-7"
    other["gpu"] = {"name": "NVIDIA H100"}
    elsewhere = make_record("inference/cuda/resnet50/inductor/fp32-b8", environment=other)
    return make_report_data([*house_price_records(), elsewhere])


RUNS = {
    "default": lambda: make_report_data(
        house_price_records(), trainings=[make_training("eager"), make_training("fx")]
    ),
    "eager alone": lambda: make_report_data([make_record(CASE.format("eager"))]),
    "one mode without eager": lambda: make_report_data([make_record(CASE.format("fx"))]),
    "all failed": failed_run,
    "only unsupported": lambda: make_report_data(
        [make_record(CASE.format(m), status="unsupported") for m in ("eager", "fx")]
    ),
    "no environment": lambda: make_report_data([make_record(CASE.format("fx"), environment={})]),
    "trainings alone": lambda: make_report_data([], trainings=[make_training("fx")]),
    "failed training": lambda: make_report_data(
        [], trainings=[make_training("fx", status="failed")]
    ),
    "two machines": two_machines,
    "nothing": lambda: make_report_data([]),
}


@cache
def data_of(run: str) -> ReportData:
    return RUNS[run]()


@cache
def page_of(run: str) -> str:
    return render_report(data_of(run))


def printed(data: ReportData, *, started_in: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_summary(data, console, started_in=started_in)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("run", RUNS)
def test_every_run_makes_a_whole_page_a_summary_and_a_terminal_table(run: str) -> None:
    data = data_of(run)
    page = Page(page_of(run))
    assert page.open == []
    assert page.unlabelled == []
    assert len(page.ids) == len(set(page.ids))
    assert page.headings[0] == 1
    steps = zip(page.headings, page.headings[1:], strict=False)
    assert all(deeper <= level + 1 for level, deeper in steps)
    assert {"ship", "missing", "reproduce"} <= set(page.sections)
    for text in (render_summary(data), printed(data)):
        assert "None" not in text
        assert "nan" not in text


@pytest.mark.parametrize(
    ("run", "absent"),
    [
        ("default", {"why", "studies"}),
        ("all failed", {"open", "cost", "right", "why", "studies"}),
        ("nothing", {"open", "compare", "cost", "right", "why", "studies"}),
    ],
)
def test_sections_with_nothing_to_show_are_left_out(run: str, absent: set[str]) -> None:
    everything = {"ship", "open", "compare", "cost", "right", "why", "studies"}
    everything |= {"missing", "reproduce"}
    assert set(Page(page_of(run)).sections) == everything - absent


def test_the_answer_comes_first_and_its_words_follow_the_records() -> None:
    html = page_of("default")
    assert html.index("Ship inductor-step") < html.index("Download all as CSV")
    swapped = [
        make_record(CASE.format("eager")),
        make_record(CASE.format("inductor-step"), speed_up=0.8),
        make_record(CASE.format("fx"), speed_up=1.3),
    ]
    html = render_report(make_report_data(swapped))
    assert "Ship fx" in html
    assert "Ship inductor-step" not in html


def test_messages_are_escaped_everywhere() -> None:
    failure = Failure(type="RuntimeError", message=HOSTILE, traceback=HOSTILE, log="logs/x.log")
    records = [
        make_record(CASE.format("eager"), warnings=[HOSTILE]),
        make_record(CASE.format("a"), status="failed", reason=HOSTILE, failure=failure),
        make_record(CASE.format("b"), status="unsupported", reason=HOSTILE, remedy=HOSTILE),
        make_record(CASE.format("c"), no_effect=HOSTILE, facts={HOSTILE: HOSTILE}),
    ]
    data = make_report_data(records, config={"note": HOSTILE})
    html = render_report(data)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert" in html
    summary = render_summary(data)
    assert "<script>" not in summary
    assert_tables_are_whole(summary)
    assert "[red]not rich[/red]" in " ".join(printed(data).split())


def assert_tables_are_whole(summary: str) -> None:
    """See that no text of a cell ends it, or its row."""
    tables = re.findall(r"(?:^\|.*\n)+", summary, re.MULTILINE)
    assert tables
    for table in tables:
        cells = [len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()]
        assert len(set(cells)) == 1, table


LIVE = (
    "![seen](http://evil.example/a.png) [go](http://evil.example) https://evil.example"
    " www.evil.example a@evil.example <img src=http://evil.example/b.png> :smile: :red[red]"
    " :material/home: $x^2$ `code` **bold** __bold__ ~~gone~~ [^1] @user #12 a | b\n# head"
)


def test_what_a_text_says_is_not_obeyed_as_markdown() -> None:
    shown = markdown_text(LIVE)
    for written in ("://", "<img", "www.", "@e", "@u", ":smile:", ":red[", ":material/"):
        assert written not in shown, written
    assert "\n" not in shown
    assert not re.search(r"(?<!\\)[`*$~|\[\]]", shown)
    for block in ("# head", "- item", "+ item", "> quote", "=== line"):
        assert markdown_text(block) == f"\\{block}"
    assert markdown_text("1. item") == r"1\. item"


def test_a_text_that_means_nothing_in_markdown_is_left_as_it_is() -> None:
    for text in ("results/training/house_price/fp32-b8.json", "torch.compile took 1.5 s (2 calls)"):
        assert markdown_text(text) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [("a/b-c", "`a/b-c`"), ("a`b``c", "``` a`b``c ```"), ("a\nb", "`a b`"), ("`", "`` ` ``")],
)
def test_code_is_code_whatever_is_in_it(text: str, code: str) -> None:
    assert markdown_code(text) == code


def test_a_summary_shows_what_records_say_and_loads_nothing() -> None:
    environment = copy.deepcopy(ENVIRONMENT)
    environment["machine"] |= {"host": LIVE, "cpu": LIVE}
    records = [
        make_record(CASE.format("eager"), warnings=[LIVE], environment=environment),
        make_record(CASE.format("a"), status="failed", reason=LIVE, environment=environment),
        make_record(CASE.format("b"), status="wrong", remedy=LIVE, environment=environment),
        make_record(CASE.format("c"), no_effect=LIVE, item=LIVE, environment=environment),
    ]
    unreadable = [Unreadable(Path(f"results/`a` | {LIVE}.json"), LIVE, LIVE)]
    summary = render_summary(make_report_data(records, unreadable_files=unreadable))
    outside_code = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", "", summary)
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    for written in ("://", "<img", "www.", ":smile:", "**bold"):
        assert written not in outside_code, written
    assert_tables_are_whole(summary)


def test_the_page_is_one_file_that_asks_for_nothing_else() -> None:
    html = page_of("default")
    loading = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)""", html)
    assert all(address.startswith("data:") for address in loading), loading
    assert "@import" not in html
    assert "url(http" not in html


def test_the_csv_of_the_page_is_the_tidy_table() -> None:
    html = page_of("default")
    found = re.search(r"data:text/csv;charset=utf-8;base64,([^\"]+)", html)
    assert found is not None
    table = pd.read_csv(io.BytesIO(base64.b64decode(found[1])))
    assert table["mode"].tolist() == [r.case.mode for r in data_of("default").records]


def test_profiles_link_their_traces_relative_to_the_page(tmp_path: Path) -> None:
    case = house_price_records()[0].identity
    folder = tmp_path / case.profile
    start_empty(folder)
    operators = "operator,calls,self_cpu_s,lean_self_s\naten::addmm,2,0.002,0.002\n"
    (folder / "operators.csv").write_text(operators)
    facts = {"status": "ok", "profiled_step_s": 0.012, "unprofiled_step_s": 0.010}
    (folder / "summary.json").write_text(json.dumps(facts))
    data = make_report_data(house_price_records(), profiles=[read_profile(folder)])
    write_report(data, tmp_path / "reports/report.html")
    html = (tmp_path / "reports/report.html").read_text(encoding="utf-8")
    assert f'href="../results/profile/{case}/trace.json.gz"' in html
    assert "aten::addmm" in html
    assert "1.20 times as long" in html
    assert "ui.perfetto.dev" in html


def test_several_machines_are_told_first_and_never_mixed() -> None:
    html = page_of("two machines")
    assert html.index("come from 2 machines") < html.index("What to ship?</h2>")
    assert "gpu-7 (Example CPU 3.0 GHz, 2 cores + NVIDIA H100)" in html
    assert "2 machines" in render_summary(data_of("two machines"))
    for title in ("Environment of bench-1", "Environment of gpu-7"):
        assert title in html
    assert "bench-1; gpu-7" not in html
    assert "<option>gpu-7</option>" in html
    assert html.count('@gpu-7" data-task=') == 1, "one row of the table of all cases"
    assert "data-machine" not in page_of("default")


def test_a_case_beside_other_programs_is_told_on_page_summary_and_terminal() -> None:
    doubt = {
        "verdict": "unresolved",
        "no_verdict": "other programs kept 1.0 of 2 cores busy",
        "remedy": "stop them; then run it again",
    }
    busy = make_record(CASE.format("fx"), speed_up=80.0).model_copy(update=doubt)
    data = make_report_data([make_record(CASE.format("eager")), busy])
    terminal = " ".join(printed(data).split())
    assert f"1 case got no verdict, such as {CASE.format('fx')}. Other programs kept" in terminal
    for text in (render_report(data), render_summary(data), terminal):
        assert "ther programs kept 1.0 of 2 cores busy" in text
        assert "top them; then run it again" in text
        assert "Ship fx" not in text


def test_cases_without_a_verdict_are_told_once_on_the_terminal() -> None:
    doubt = {"verdict": "unresolved", "no_verdict": "it was busy", "remedy": "wait"}
    busy = [make_record(CASE.format(f"m{i}")).model_copy(update=doubt) for i in range(3)]
    terminal = printed(make_report_data([make_record(CASE.format("eager")), *busy]))
    assert "3 cases got no verdict" in terminal
    assert terminal.count("busy") == 1


def test_the_commands_of_the_page_are_of_the_configuration_that_ran() -> None:
    configured = render_report(
        make_report_data([make_record(CASE.format("fx"))], config={"seed": 7})
    )
    commands = configured.split('aria-label="Commands">')[1].split("</pre>")[0]
    assert commands.count("--configfile run.yaml") == 3
    assert "Configuration as run" in commands


def test_a_slowed_job_is_among_the_warnings_and_in_the_answer() -> None:
    records = [make_record(CASE.format(f"m{i}"), seed=i) for i in range(4)]
    records.append(make_record(CASE.format("fx"), baseline_s=0.02, speed_up=1.4, seed=9))
    html = render_report(make_report_data(records))
    assert html.index("a slowed job: eager took 2.9 times as long") < html.index("<h3>Warnings")
    assert "a slowed job" in html[html.index("<h3>Warnings") :]
    assert "a slowed job" not in page_of("default")
    assert f"of its group: `{CASE.format('fx')}`" in render_summary(make_report_data(records))


def by_batches(**speed_ups: float) -> ReportData:
    return make_report_data(
        make_record(f"inference/cpu/{model}/{mode}/fp32-b{batch}", speed_up=s, seed=seed)
        for seed, (mode, s) in enumerate({"eager": 1.0, **speed_ups}.items())
        for model in ("gpt2", "resnet50")
        for batch in (1, 8)
    )


def test_models_and_batch_sizes_are_drawn_where_there_are_several() -> None:
    html = render_report(by_batches(fx=1.2))
    assert "Latency and throughput against batch size" in html
    assert "<strong>Modes by models</strong>" in html
    assert "<strong>Modes by models</strong>" not in page_of("default")


def test_the_same_data_give_the_same_page() -> None:
    assert render_report(RUNS["default"]()) == page_of("default")


def test_failures_are_loud_on_the_terminal_and_strict_fails_rule_all() -> None:
    records = [make_record(CASE.format("eager")), make_record(CASE.format("fx"), status="failed")]
    lenient = make_report_data(records, config={"strict": False})
    strict = make_report_data(records, config={"strict": True})
    assert "1 failed, wrong or unreadable" in printed(lenient)
    assert "rule all would end with exit code 1" in printed(lenient)
    assert "rule all ends with exit code 1" in printed(strict)
    fine = make_report_data(house_price_records(), config={"strict": True})
    assert "exit code" not in printed(fine)


def test_the_terminal_names_the_report_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "report.html" not in printed(data_of("default"))
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports/report.html").touch()
    assert printed(data_of("default")).endswith("The report: reports/report.html\n")
    told = f"The report: {tmp_path.name}/reports/report.html\n"
    assert printed(data_of("default"), started_in=tmp_path.parent).endswith(told)
    elsewhere = tmp_path / "other"
    assert f"The report: {tmp_path}/reports" in printed(data_of("default"), started_in=elsewhere)


def test_unsupported_cases_are_no_failure() -> None:
    data = make_report_data(
        [make_record(CASE.format("fx"), status="unsupported")], config={"strict": True}
    )
    assert "failed, wrong" not in printed(data)
    assert "exit code" not in printed(data)


def test_a_report_of_three_hundred_cases_would_stay_small_and_quick() -> None:
    modes = ["eager", *(f"mode-{i}" for i in range(9))]
    records = [
        make_record(
            f"inference/cpu/model-{m}/{mode}/fp32-b{b}", speed_up=1 + i / 20, blocks=40, seed=i
        )
        for m in range(2)
        for b in (1, 8, 64)
        for i, mode in enumerate(modes)
    ]
    data = make_report_data(records)
    share = len(records) / 300
    began = time.process_time()
    html = render_report(data)
    # Twice the 20 s that it may take on a machine of its own; small runs cost more for each case.
    assert time.process_time() - began < 40 * share + 5
    assert len(html.encode()) < 5_000_000 * share + 200_000


def test_the_cost_table_tells_energy_and_the_share_of_the_peak_where_they_are_known() -> None:
    record = make_record("inference/cpu/resnet50/fx/fp32-b8", baseline_s=0.1, speed_up=1.0)
    energy = Energy(
        joules=8.0, seconds=1.0, source="RAPL", reason=None, calls=10, items=80, joules_per_item=0.1
    )
    counted = record.model_copy(update={"flops": 3 * 10**9, "energy": energy})
    html = render_report(make_report_data([counted], roofline=ROOFLINE))
    cost = html[html.index('<section id="cost"') : html.index('<section id="right"')]
    assert "100\N{NARROW NO-BREAK SPACE}mJ" in cost
    assert "Of the peak" in cost
    assert "10\N{NARROW NO-BREAK SPACE}%" in cost  # 3 GFLOP in 0.1 s, of 300 GFLOP/s
    assert "Of the peak" not in page_of("default")
    assert "Energy an item" not in page_of("default")


def test_a_profile_tells_what_its_memory_holds_at_the_peak() -> None:
    held = {"weights": 2 * 10**6, "activations": 10**6, "workspace": 0}
    profile = a_profile(summary={"memory_peak_bytes": held})
    html = render_report(make_report_data(house_price_records(), profiles=[profile]))
    assert "At its peak a step holds 3.00\N{NARROW NO-BREAK SPACE}MB: 2.00" in html
