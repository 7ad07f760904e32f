"""The measuring engine measured against itself and against torch.utils.benchmark.

    make bench        all of it, less than an hour on two cores (ARGS='--only engine': ten minutes)

(a) false positives: eager modes that are the baseline under another name, judged against the noise
floor of their run's A/A case; (b) sensitivity: a candidate with a known share of extra
work; (c) agreement with ``torch.utils.benchmark.Timer.blocked_autorange``; (d) overhead of the
harness per case; (e) where the time of these runs went; (f) whether records agree
(`benchmarks.repeatability`). Prints a table and writes ``results/studies/engine.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import repeatability
from torchmodes.config import Measurement, Mode
from torchmodes.machine.devices import usable_cores
from torchmodes.machine.environment import describe_environment
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.planning.cases import Case
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job
from torchmodes.results.records import Record
from torchmodes.results.writing import write_atomically

KNOWN_WORK = Path(__file__).with_name("known_work.py")
MODEL = {
    "family": "user",
    "factory": f"{KNOWN_WORK}:build",
    "inputs": f"{KNOWN_WORK}:inputs",
    "options": {},
    "item": "row",
}
BATCH_SIZE = 8
PERCENTS = (3, 5, 10)
TWINS_PER_AA = 5
"""Cases that one A/A case gives the noise floor to, as in a group of a run."""


@dataclass(frozen=True)
class Timed:
    """A record, with the seconds that all of its job took."""

    record: Record
    wall_s: float

    @property
    def overhead_s(self) -> float:
        """Seconds beyond building, preparing, first calls, warming up and sampling."""
        cost, run, warmup = self.record.cost, self.record.run, self.record.warmup
        assert cost is not None
        assert warmup is not None
        parts = (
            cost.build_s,
            cost.prepare_s,
            cost.first_call_s,
            cost.baseline_first_call_s,
            warmup.seconds,
            run.sampling_s,
        )
        return self.wall_s - sum(part or 0.0 for part in parts)


def known_work_job(
    mode: Mapping[str, Any],
    *,
    name: str,
    seed: int,
    budget_s: float,
    threads: int | None = None,
    start: Literal["auto", "fork", "fresh"] = "auto",
) -> Job:
    """Return the job of a case of the known-work model; by default with all cores."""
    return Job(
        case=Case("inference", "cpu", "known_work", name, "fp32", BATCH_SIZE),
        model=MODEL,
        mode=TypeAdapter(Mode).validate_python(dict(mode)).model_dump(),
        measurement=Measurement(
            budget_s=budget_s, warmup_budget_s=1.0, time_limit_s=120.0, start=start
        ),
        seed=seed,
        threads=threads or usable_cores(),
    )


def measure(mode: Mapping[str, Any], *, name: str, seed: int, budget_s: float, log: Path) -> Timed:
    """Benchmark one case as the workflow does."""
    start = time.perf_counter()
    record = benchmark_case(known_work_job(mode, name=name, seed=seed, budget_s=budget_s), log=log)
    if record.status != "ok":
        raise SystemExit(f"a case of the benchmark ended as {record.in_brief()}")
    return Timed(record, time.perf_counter() - start)


def agreement(*, rounds: int, seconds: float, log: Path) -> list[float]:
    """Return, per round, our median latency / the one of blocked_autorange, taken in turn."""
    job = known_work_job({"engine": "eager"}, name="eager", seed=42, budget_s=seconds)
    parts, _ = run_job(
        "benchmarks.timer_agreement:compare", job, log=log, rounds=rounds, seconds=seconds
    )
    if parts["status"] != "ok":
        raise SystemExit(f"comparing with torch.utils.benchmark failed: {parts['reason']}")
    return parts["ratios"]


def shares(timed: list[Timed], wall_s: float) -> dict[str, float]:
    """Return the share of the wall time per activity; the rest is `harness and idle`."""

    def total(*values: float | None) -> float:
        return sum(value or 0.0 for value in values)

    costs = [t.record.cost for t in timed if t.record.cost is not None]
    imports = {t.record.cost.import_s for t in timed if t.record.cost is not None}
    parts = {
        "imports": total(*imports),
        "building and compiling": sum(
            total(c.build_s, c.prepare_s, c.first_call_s, c.baseline_first_call_s) for c in costs
        ),
        "warming up": sum(t.record.warmup.seconds for t in timed if t.record.warmup),
        "sampling": total(*(t.record.run.sampling_s for t in timed)),
    }
    parts["harness and idle"] = wall_s - sum(parts.values())
    return {name: seconds / wall_s for name, seconds in parts.items()}


def run(*, twins: int, slowed_cases: int, budget_s: float, rounds: int) -> dict[str, Any]:
    """Run everything and return the study."""
    began = time.perf_counter()
    eager = {"engine": "eager"}
    timed: list[Timed] = []
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "engine.log")
        floors: list[Timed] = []
        pairs: list[Timed] = []
        for seed in track(range(twins), "(a) eager against eager"):
            if seed % TWINS_PER_AA == 0:
                floors.append(measure(eager, name="eager", seed=seed, budget_s=budget_s, log=log))
            pairs.append(
                measure(
                    eager,
                    name="eager-twin",
                    seed=seed,
                    budget_s=budget_s,
                    log=log,
                )
            )
        timed += floors + pairs
        slowed: dict[int, list[Timed]] = {}
        for percent in PERCENTS:
            mode = {
                "engine": "user",
                "factory": f"{KNOWN_WORK}:repeat",
                "options": {"percent": percent},
            }
            slowed[percent] = [
                measure(
                    mode,
                    name=f"slowed-{percent}",
                    seed=seed,
                    budget_s=budget_s,
                    log=log,
                )
                for seed in track(range(slowed_cases), f"(b) {percent} % more work")
            ]
            timed += slowed[percent]
        inductor = {"engine": "compile"}
        timed.append(measure(inductor, name="inductor", seed=0, budget_s=budget_s, log=log))
        wall_s = time.perf_counter() - began
        ratios = agreement(rounds=rounds, seconds=0.5, log=log)
    claimed = [t for t in pairs if t.record.verdict in ("faster", "slower")]
    return {
        "false_positives": {
            "cases": len(pairs),
            "claimed": len(claimed),
            "share": len(claimed) / len(pairs),
            "speed_ups": [_interval(t) for t in pairs],
            "noise_floors": [_interval(t) for t in floors],
        },
        "sensitivity": {str(percent): sensitivity(group) for percent, group in slowed.items()},
        "agreement": {
            "rounds": len(ratios),
            "median_ratio": statistics.median(ratios),
            "ratios": ratios,
        },
        "overhead_s": {
            # The first case waits for the fork server's imports, which serve all the others.
            "first": timed[0].overhead_s,
            "median": statistics.median(t.overhead_s for t in timed[1:]),
            "largest": max(t.overhead_s for t in timed[1:]),
            "start_method": timed[0].record.run.start_method,
        },
        "wall_s": wall_s,
        "shares": shares(timed, wall_s),
        "environment": describe_environment(),
    }


def _interval(timed: Timed) -> tuple[float, float | None, float | None]:
    assert timed.record.statistics is not None
    found = timed.record.statistics.speed_up
    return found.estimate, found.low, found.high


def sensitivity(group: list[Timed]) -> dict[str, Any]:
    """Say how often a known slow-down was found, in all cases and where the floor allowed it."""
    verdicts = [t.record.verdict for t in group]
    estimates = [
        1 / t.record.statistics.speed_up.estimate for t in group if t.record.statistics is not None
    ]
    return {
        "cases": len(group),
        "slower": verdicts.count("slower"),
        "unresolved": verdicts.count("unresolved"),
        "wrong_way": verdicts.count("faster"),
        "median_slow_down": statistics.median(estimates),
        "median_margin": statistics.median(
            t.record.statistics.margin for t in group if t.record.statistics is not None
        ),
    }


def show(study: Mapping[str, Any], console: Console) -> None:
    """Print the study as one table."""
    table = Table("question", "answer", "wanted", title="The measuring engine, measured")
    if "false_positives" in study:
        _add_engine(study, table)
    if "repeatability" in study:
        for row in repeatability.rows(study["repeatability"]):
            table.add_row(*row)
    console.print(table)


def _add_engine(study: Mapping[str, Any], table: Table) -> None:
    false = study["false_positives"]
    table.add_row(
        f"(a) eager against eager, {false['cases']} cases: called faster or slower",
        f"{false['claimed']} ({false['share']:.1%})",
        "≤ 5 %",
    )
    for percent, found in study["sensitivity"].items():
        table.add_row(
            f"(b) {percent} % more work, {found['cases']} cases: called slower",
            f"{found['slower']} (estimate {found['median_slow_down'] - 1:+.1%},"
            f" margin ± {found['median_margin']:.1%})",
            "≥ 90 % where the margin allows",
        )
    ratio = study["agreement"]["median_ratio"]
    table.add_row(
        f"(c) our median / Timer.blocked_autorange, {study['agreement']['rounds']} rounds",
        f"{ratio:.4f}",
        "0.97 to 1.03",
    )
    overhead = study["overhead_s"]
    table.add_row(
        f"(d) harness per case, start method {overhead['start_method']}",
        f"{overhead['median']:.2f} s (largest {overhead['largest']:.2f} s; the first, with the"
        f" server's imports, {overhead['first']:.1f} s)",
        "≤ 3 s",
    )
    for name, share in study["shares"].items():
        table.add_row(f"(e) share of {study['wall_s']:.0f} s: {name}", f"{share:.0%}", "")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--twins", type=int, default=40, help="eager-against-eager cases")
    parser.add_argument("--slowed-cases", type=int, default=10, help="cases per known slow-down")
    parser.add_argument("--budget-s", type=float, default=3.0, help="seconds of samples per case")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of (c)")
    parser.add_argument("--output", type=Path, default=Path("results/studies/engine.json"))
    parser.add_argument("--only", choices=["engine", "repeatability"])
    parser.add_argument("--records", type=int, default=4, help="of each case of (f)")
    parser.add_argument(
        "--run-s", type=float, default=1.0, help="seconds of samples per run of (f)"
    )
    parser.add_argument("--cases", type=Path, default=repeatability.CASES, help="of (f)")
    options = parser.parse_args()
    study: dict[str, Any] = {}
    if options.only != "repeatability":
        study = run(
            twins=options.twins,
            slowed_cases=options.slowed_cases,
            budget_s=options.budget_s,
            rounds=options.rounds,
        )
    if options.only != "engine":
        study["repeatability"] = repeatability.run(
            rounds=options.records, budget_s=options.run_s, configfile=options.cases
        )
    write_atomically(options.output, json.dumps(study, indent=1) + "\n")
    show(study, Console())
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
