"""The measuring engine measured against itself and against torch.utils.benchmark.

    make bench        all of it, less than an hour on two cores (ARGS='--only engine': ten minutes)

(a) false positives: an eager mode that is the baseline under another name; (b) sensitivity: a
candidate with a known share of extra work, in one process and in workflows of eight runs drawn
from all; (c) agreement with ``torch.utils.benchmark.Timer.blocked_autorange``; (d) overhead of the
harness per case; (e) where the time of these runs went; (f) whether records agree
(`benchmarks.repeatability`). Prints a table and writes ``results/studies/engine.json``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import repeatability
from torchmodes.config.modes import Mode
from torchmodes.config.run import Measurement
from torchmodes.machine.devices import usable_cores
from torchmodes.machine.environment import describe_environment
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.measure.combine import combine
from torchmodes.planning.cases import Case
from torchmodes.planning.job import Job
from torchmodes.processes.jobs import run_job
from torchmodes.report.verdicts import judge
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
TWIN = "eager-twin"
RUNS = 8
"""Of each case of a workflow that is drawn."""
GROUPS = 5
"""Each with an A/A case, of a workflow that is drawn: as many as the default configuration has."""
DRAWS = 100


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


def run(*, processes: int, budget_s: float, rounds: int) -> dict[str, Any]:
    """Run everything and return the study: of each case as many processes, in turn.

    Of eager there are twice as many, for it is the A/A case of every group.
    """
    began = time.perf_counter()
    modes: dict[str, dict[str, Any]] = {"eager": {"engine": "eager"}, TWIN: {"engine": "eager"}}
    for percent in PERCENTS:
        modes[slowed(percent)] = {
            "engine": "user",
            "factory": f"{KNOWN_WORK}:apply_more",
            "options": {"percent": percent},
            "own_threads": False,
        }
    timed: dict[str, list[Timed]] = {name: [] for name in modes}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "engine.log")
        for seed in track(range(processes), "(a), (b)"):
            for name in (*modes, "eager"):
                one = measure(modes[name], name=name, seed=seed, budget_s=budget_s, log=log)
                timed[name].append(one)
        wall_s = time.perf_counter() - began
        ratios = agreement(rounds=rounds, seconds=0.5, log=log)
    every = [one for group in timed.values() for one in group]
    verdicts = drawn({name: [one.record for one in group] for name, group in timed.items()})
    return {
        "sensitivity": {
            name: sensitivity(timed[name], verdicts[name])
            for name in (TWIN, *map(slowed, PERCENTS))
        },
        "speed_ups": {name: [_interval(one) for one in group] for name, group in timed.items()},
        "agreement": {
            "rounds": len(ratios),
            "median_ratio": statistics.median(ratios),
            "ratios": ratios,
        },
        "overhead_s": {
            # The first case waits for the fork server's imports, which serve all the others.
            "first": every[0].overhead_s,
            "median": statistics.median(one.overhead_s for one in every[1:]),
            "largest": max(one.overhead_s for one in every[1:]),
            "start_method": every[0].record.run.start_method,
        },
        "wall_s": wall_s,
        "shares": shares(every, wall_s),
        "environment": describe_environment(),
    }


def slowed(percent: int) -> str:
    """Return the name of the mode with so much more work."""
    return f"slowed-{percent}"


def drawn(
    runs: Mapping[str, Sequence[Record]],
    *,
    groups: int = GROUPS,
    draws: int = DRAWS,
    seed: int = 42,
) -> dict[str, list[str]]:
    """Return the verdicts on each mode in workflows that draw `RUNS` of each one's processes.

    A workflow has so many groups, each with its own A/A case drawn from eager's processes, and its
    cases are judged together, as its report would.
    """
    random = Random(seed)
    verdicts: dict[str, list[str]] = {name: [] for name in runs if name != "eager"}
    for _ in range(draws):
        eager = random.sample(runs["eager"], groups * RUNS)
        records = [combine(random.sample(runs[name], RUNS)) for name in verdicts]
        for group in range(groups):
            own = combine(eager[group * RUNS :][:RUNS])
            renamed = own.case.model_copy(update={"model": f"group-{group}"})
            records.append(own.model_copy(update={"case": renamed}))
        for judged in judge(records):
            if (name := judged.record.identity.mode) in verdicts:
                verdicts[name].append(judged.verdict or "unresolved")
    return verdicts


def _interval(timed: Timed) -> tuple[float, float | None, float | None]:
    assert timed.record.statistics is not None
    found = timed.record.statistics.speed_up
    return found.estimate, found.low, found.high


def sensitivity(timed: Sequence[Timed], verdicts: Sequence[str]) -> dict[str, Any]:
    """Say what was found of a mode: by each process alone, and by the workflows drawn."""
    alone = [one.record.verdict for one in timed]
    statistics_of = [one.record.statistics for one in timed if one.record.statistics is not None]
    return {
        "processes": len(timed),
        "slower": alone.count("slower"),
        "faster": alone.count("faster"),
        "draws": len(verdicts),
        "drawn_slower": verdicts.count("slower"),
        "drawn_faster": verdicts.count("faster"),
        "median_slow_down": statistics.median(1 / one.speed_up.estimate for one in statistics_of),
    }


def show(study: Mapping[str, Any], console: Console) -> None:
    """Print the study as one table."""
    table = Table("question", "answer", "wanted", title="The measuring engine, measured")
    if "sensitivity" in study:
        _add_engine(study, table)
    if "repeatability" in study:
        for row in repeatability.rows(study["repeatability"]):
            table.add_row(*row)
    console.print(table)


def _add_engine(study: Mapping[str, Any], table: Table) -> None:
    for name, found in study["sensitivity"].items():
        wanted = "≤ 5 %" if name == TWIN else f"≥ 90 % of {RUNS} runs of 5 % and more"
        said = "faster or slower" if name == TWIN else "slower"
        count, of_drawn = found["slower"], found["drawn_slower"]
        if name == TWIN:
            count, of_drawn = count + found["faster"], of_drawn + found["drawn_faster"]
        part = "(a) eager against eager" if name == TWIN else f"(b) {name}"
        table.add_row(
            f"{part}, estimate {found['median_slow_down'] - 1:+.1%}: called {said}",
            f"{count} of {found['processes']} processes;"
            f" {of_drawn} of {found['draws']} draws of {RUNS} runs",
            wanted,
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
    parser.add_argument("--processes", type=int, default=24, help="of each case of (a) and (b)")
    parser.add_argument("--budget-s", type=float, default=1.0, help="seconds of samples in each")
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
            processes=options.processes,
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
