"""What CONTRIBUTING.md says of adding a figure and a study, done in a copy of the tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.captions import FOLDER, captions

ROOT = Path(__file__).parents[2]
FIGURE = """
from matplotlib.figure import Figure

from torchmodes.report.data import ReportData
from torchmodes.report.figures.panels import Panel, stack


def has_cases(data: ReportData) -> bool:
    return bool(data.cases)


def draw_counts(data: ReportData) -> Figure:
    figure, (ax,) = stack([Panel("cases by status", 1.0)], left=0.7, right=0.2)
    ax.bar(["cases"], [len(data.cases)])
    return figure
"""
ENTRY = """    FigureEntry(
        name="counts",
        title="Cases counted",
        caption="How many there are.",
        category="Cost",
        subcategory="Counted",
        draws="counts.draw_counts",
        has_data="counts.has_cases",
    ),
)


def figure_named"""
STUDY = """
from torchmodes.studies.catalogue import CaseCount


def study(records, unreadable, modes):
    return CaseCount(count=len(records))
"""
TYPE = '''class CaseCount(StudyResult):
    """`torchmodes.studies.case_count`."""

    count: int


@dataclass(frozen=True)
class StudyEntry:'''
STUDY_ENTRY = '''        StudyEntry("case_count", "How many cases there are", CaseCount),
    )
}
"""By name."""'''
PAGE = """
def tell(result):
    return f"There are {result.count}.", ("Cases",), ((str(result.count),),)


def draw(result):
    return None
"""
FIELD = """    case_count: list[Grid] = Field([], description="cases that are counted")


class Config(Section):"""
REPORT = """
import sys
from pathlib import Path

sys.path.insert(0, "tests")
from record_factory import house_price_records
from torchmodes.report.data import Study, make_report_data
from torchmodes.report.html import render_report
from torchmodes.studies.catalogue import STUDIES

records = house_price_records()
result = STUDIES["case_count"].study(records, [], {})
data = make_report_data(records, studies=[Study("case_count", result)])
Path("report.html").write_text(render_report(data))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for name in ("torchmodes", "tests", "tools", "rules", "scripts", "config", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Snakefile", "config.yaml"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def insert(path: Path, before: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, new), encoding="utf-8")


def ran(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_figure_takes_two_files_and_a_study_four(tree: Path) -> None:
    package = tree / "torchmodes"
    (package / "report/figures/counts.py").write_text(FIGURE)
    insert(package / "report/figures/__init__.py", ")\n\n\ndef figure_named", ENTRY)

    insert(package / "config/run.py", "\n\nclass Config(Section):", FIELD)
    (package / "studies/case_count.py").write_text(STUDY)
    catalogue = package / "studies/catalogue.py"
    insert(catalogue, "@dataclass(frozen=True)\nclass StudyEntry:", TYPE)
    insert(catalogue, '    )\n}\n"""By name."""', STUDY_ENTRY)
    (package / "report/studies/case_count.py").write_text(PAGE)

    ran(tree, "-m", "tools.captions")
    ran(tree, "-c", REPORT)
    page = (tree / "report.html").read_text(encoding="utf-8")
    assert "<strong>Cases counted</strong> How many there are." in page
    assert "How many cases there are</h3>" in page
    assert "There are 6." in page

    block = '{"task": "training", "models": ["house_price"], "modes": ["fx"], "batch_sizes": [8]}'
    studies = f'studies={{"case_count": [{block}]}}'
    options = ("--dry-run", "--cores", "1", "--config", studies)
    plots = ("results/plots/counts.svg", "results/plots/study-case_count.svg")
    planned = ran(tree, "-m", "snakemake", *plots, *options)
    assert "rule draw_plots" in planned
    assert "rule derive_study" in planned


def test_the_captions_are_those_of_the_registrations() -> None:
    for name, text in captions().items():
        made = (FOLDER / name).read_text(encoding="utf-8")
        assert made == text, "run python -m tools.captions"
