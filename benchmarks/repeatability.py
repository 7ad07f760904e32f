"""(f) of `make bench`: do two records of one case agree?

    make bench ARGS='--only repeatability'      some forty minutes on two cores; it can be resumed

Every case is measured by the workflow itself, in a folder of its own, in rounds: each adds three
runs to one workflow, and to another one run that samples three times as long. Three runs make a
record, and so does the long one. Of both kinds is told how often two records of a case are
compatible (their difference may be none, by its 95 % interval), how often their verdicts contradict
each other, and how wide they are. Run files are kept: a second call measures what is missing.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from torchmodes.measure.combine import combine
from torchmodes.planning.cases import parse_case
from torchmodes.report.comparison.effects import effect_between
from torchmodes.report.verdicts import JudgedRecord, judge
from torchmodes.results.records import Record, read_record

ROOT = Path(__file__).parent.parent
FOLDER = Path("results/repeatability")
CASES = ROOT / "benchmarks/repeatability.yaml"
RUNS = 3
"""Of a record."""


@dataclass(frozen=True)
class Agreement:
    """How the records of each case agree, two by two.

    Attributes
    ----------
    compatible
        Pairs whose difference may be none, by its 95 % interval.
    contradictory, opposite
        Pairs of two findings that are not the same one; of which faster against slower.
    half_width
        Of an interval, relative; the median.
    """

    records: int
    pairs: int
    compatible: int
    contradictory: int
    opposite: int
    half_width: float


def agreement(sets: Sequence[Sequence[Record]]) -> Agreement:
    """Compare each case's records with each other.

    Parameters
    ----------
    sets
        The records of all cases as one run of the workflow would have them, for each such run. They
        are judged together, as its report would.
    """
    judged = [{case.case: case for case in judge(records)} for records in sets]
    measured = [
        case for case in judged[0] if all(case in one and one[case].measured for one in judged)
    ]
    pairs = [
        (one[case], other[case]) for case in measured for one, other in combinations(judged, 2)
    ]
    each = [(one, case) for one in judged for case in measured]
    verdicts = [{one.verdict, other.verdict} - {"unresolved", None} for one, other in pairs]
    return Agreement(
        records=len(each),
        pairs=len(pairs),
        compatible=sum(compatible(one, other) for one, other in pairs),
        contradictory=sum(len(found) > 1 for found in verdicts),
        opposite=sum(found >= {"faster", "slower"} for found in verdicts),
        half_width=statistics.median(one[c].statistics.half_width or 0 for one, c in each),
    )


def compatible(one: JudgedRecord, other: JudgedRecord) -> bool:
    """Tell whether two records of a case may be of one truth: their difference may be none."""
    found = effect_between(one.record, other.record)
    assert found is not None, "both are measured"
    assert found.low is not None, "a record has three runs, or a run several blocks"
    assert found.high is not None
    return found.low <= 0 <= found.high


def run(*, rounds: int, budget_s: float, configfile: Path = CASES) -> dict[str, Any]:
    """Measure what is missing, and compare."""
    several, one = FOLDER / "several", FOLDER / "one"
    for number in range(1, rounds + 1):
        _measure(several, configfile, runs=RUNS * number, budget_s=budget_s)
        _measure(one, configfile, runs=number, budget_s=RUNS * budget_s)
    return {
        "rounds": rounds,
        "several": asdict(agreement([_records(several, n, RUNS) for n in range(rounds)])),
        "one": asdict(agreement([_records(one, n, 1) for n in range(rounds)])),
    }


def rows(study: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of the table: question, answer, what is wanted."""
    found = []
    for key, name, wanted in (
        ("several", f"{RUNS} processes", "≥ 93 % compatible, none opposite"),
        ("one", "one process of the same time", ""),
    ):
        told = study[key]
        share = told["compatible"] / told["pairs"] if told["pairs"] else math.nan
        answer = f"{share:.1%} ({told['contradictory']} contradict each other, of which"
        answer += f" {told['opposite']} faster against slower; ± {told['half_width']:.1%})"
        question = f"(f) {told['pairs']} pairs of records of {name}: compatible"
        found.append((question, answer, wanted))
    return found


def _measure(folder: Path, configfile: Path, *, runs: int, budget_s: float) -> None:
    """Let the workflow measure what a number of runs lacks.

    Raises
    ------
    SystemExit
        When it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # As much time in all: the stopping rule is out of reach.
    measurement = {"runs": runs, "budget_s": budget_s, "target_half_width": 1e-6}
    command = [sys.executable, "-m", "snakemake", "results/summary.csv", "--cores", "all"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--configfile", str(configfile.resolve())]
    command += ["--config", f"measurement={json.dumps(measurement)}"]
    with Path(folder, "snakemake.log").open("a") as log:
        ended = subprocess.run(
            command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if ended.returncode:
        raise SystemExit(f"the workflow failed; see {folder}/snakemake.log")


def _records(folder: Path, number: int, runs: int) -> list[Record]:
    """Return the records that the runs of a round make, of every case."""
    numbers = range(number * runs + 1, (number + 1) * runs + 1)
    firsts = sorted(folder.glob("results/runs/*/*/*/*/*/1.json"))
    cases = [parse_case(first.parent.as_posix()) for first in firsts]
    return [combine([read_record(folder / case.run_record(n)) for n in numbers]) for case in cases]
