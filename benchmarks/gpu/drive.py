"""Measure a list of cases in order of value until the time is up, each as the workflow's job would.

    python -m benchmarks.gpu.drive benchmarks/gpu/cases/A.txt 300

For a machine that is lent by the minute: it runs no Snakemake, which starts a process for each job,
and leaves a case out that does not fit into what is left. Records, profiles and logs lie where the
workflow puts them, below the working directory. A list has a step a line, ``#`` begins a comment:

    seconds CASE [fork|fresh]     benchmark a case, unless its record is there already
    seconds profile CASE
    seconds machine               what the device reaches at the most
    seconds report                reports/report.html and reports/summary.md of what is there

The seconds are those expected; what the steps so far took of them tells how long the rest takes.
KIT_DEVICE=cpu puts the cases on the CPU, to try a list where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import yaml
from snakemake.utils import update_config

from torchmodes.config import parse_config
from torchmodes.config.run import Config
from torchmodes.machine.devices import usable_cores
from torchmodes.measure.benchmark import benchmark_case
from torchmodes.measure.statistics import sides
from torchmodes.planning.cases import (
    OPERATOR_FILES,
    TABLE_FILES,
    Case,
    find_profiles,
    find_records,
    parse_case,
)
from torchmodes.planning.job import Job
from torchmodes.planning.plan import Plan, limits
from torchmodes.processes.jobs import run_process
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.profiling.files import write_profile
from torchmodes.profiling.roofline import roofline
from torchmodes.report import html, markdown
from torchmodes.report.loading import load_report_data
from torchmodes.results.records import Record, read_records, write_record
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.operators.build import build_or_tell
from torchmodes.workloads.training.dataset import fit_table, save_statistics
from torchmodes.workloads.training.generate import generate_housing, write_housing

ROOT = Path(__file__).parents[2]
CONFIGS = tuple(ROOT / name for name in ("config.yaml", "config/gpu.yaml", "config/gpu-quick.yaml"))
"""Laid over each other in turn: the models and modes of all, the measurement of the last."""

Device = Literal["cpu", "cuda"]
Verb = Literal["benchmark", "profile", "machine", "report"]
Start = Literal["fork", "fresh"]

SHORTEST_S = 12.0
"""No case is given less, though less is left."""
SPARE_S = 3.0
"""Left at the end of a case for ending it and writing its record."""
ROOFLINE = Path("results/roofline.json")


@dataclass(frozen=True)
class Step:
    """One line of a list."""

    expected_s: float
    verb: Verb
    case: Case | None = None
    start: Start | None = None

    def __str__(self) -> str:
        """Return the line without its seconds."""
        return " ".join(map(str, filter(None, (self.verb, self.case, self.start))))


def read_steps(text: str, *, device: Device) -> list[Step]:
    """Read a list.

    Parameters
    ----------
    text
        Its lines, as the module's docstring describes them.
    device
        What the cases, which are written for CUDA, are put on.

    Raises
    ------
    ValueError
        Naming the line that is none.
    """
    steps = []
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.partition("#")[0].split():
            try:
                steps.append(_read_step(words, device))
            except ValueError as error:
                raise ValueError(f"line {number}, {line.strip()!r}: {error}") from None
    return steps


def _read_step(words: Sequence[str], device: Device) -> Step:
    expected_s, rest = float(words[0]), words[1:]
    match rest:
        case ["machine" | "report" as verb]:
            return Step(expected_s, verb)
        case ["profile", path]:
            return Step(expected_s, "profile", replace(parse_case(path), device=device))
        case [path]:
            return Step(expected_s, "benchmark", replace(parse_case(path), device=device))
        case [path, "fork" | "fresh" as start]:
            return Step(expected_s, "benchmark", replace(parse_case(path), device=device), start)
    raise ValueError("not a case, profile and a case, machine or report")


def read_config(files: Iterable[Path] = CONFIGS) -> Config:
    """Read configurations laid over each other, as ``--configfile`` does."""
    merged: dict[str, Any] = {}
    for file in files:
        update_config(merged, yaml.safe_load(file.read_text(encoding="utf-8")))
    return parse_config(merged)


@dataclass(frozen=True)
class Driver:
    """Does the steps of a list in the working directory.

    Attributes
    ----------
    config
        Where models, modes and how to measure are looked up.
    device
        Whose ceilings ``machine`` measures.
    threads
        That cases compute with.
    """

    config: Config
    device: Device
    threads: int

    def do(self, step: Step, *, within_s: float) -> None:
        """Do a step and print what came of it."""
        usual_s = self.config.measurement.time_limit_s
        limit_s = max(SHORTEST_S, min(usual_s, within_s - SPARE_S))
        limited = limits(self.config) | {"time_limit_s": limit_s}
        with alone_on_machine():
            match step:
                case Step(verb="benchmark", case=Case() as case):
                    self._benchmark(self._job(case, limited), step.start)
                case Step(verb="profile", case=Case() as case):
                    self._profile(self._job(case, limited))
                case Step(verb="machine"):
                    self._machine(limited)
                case Step(verb="report"):
                    self._report()

    def _job(self, case: Case, limits: dict[str, Any]) -> Job:
        """Return the job of a case, whose files the first one that reads them makes."""
        plan = Plan(self.config, case)
        if "table" in plan.inputs:
            self._make_table()
        if "operators" in plan.inputs:
            self._build_operators()
        return Job.planned(plan.parameters, limits, plan.inputs, threads=self.threads)

    def _benchmark(self, job: Job, start: Start | None) -> None:
        case = job.case
        path = Path(case.record)
        if start is None and path.exists():
            print("  there already")
            return
        if start is not None:
            measurement = job.measurement.model_copy(update={"start": start})
            job = replace(job, measurement=measurement)
        log = _log("benchmark", case)
        record = benchmark_case(
            job,
            log=log,
        )
        for line in (record.in_brief(), *particulars(record)):
            print(f"  {line}")
        if record.status in ("failed", "wrong"):
            trace = record.failure.traceback if record.failure is not None else None
            print(_ends(trace or _text(log)))
        cut_short = job.measurement.time_limit_s < self.config.measurement.time_limit_s
        if cut_short and record.failure is not None and record.failure.type == "TimeLimit":
            print("  not kept: what ended it is the time of this list, not that of a case")
        else:
            write_record(record, path)

    def _profile(self, job: Job) -> None:
        directory, log = Path(job.case.profile), _log("profile", job.case)
        summary = write_profile(
            job,
            schedule=self.config.profile.model_dump(exclude={"cases", "diffs"}),
            directory=directory,
            log=log,
        )
        print(f"  {summary['status']} {summary.get('reason') or ''}")
        if summary["status"] != "ok":
            print(_ends(_text(log)))
            return
        overview = json.loads((directory / "overview.json").read_text(encoding="utf-8"))
        shown = {key: overview[key] for key in ("wall_s", "parts", "device", "launches")}
        print(f"  {json.dumps(shown)}")
        kernels = (directory / "kernels.csv").read_text(encoding="utf-8").splitlines()
        print(_indented("\n".join(line[:170] for line in kernels[:7])))

    def _machine(self, limits: dict[str, Any]) -> None:
        found, _ = run_process(
            "torchmodes.machine.peaks:measure_machine",
            {"device": self.device, "threads": self.threads},
            limits=self.config.measurement.model_copy(update=limits),
            threads=self.threads,
            log=_log("machine", self.device),
        )
        path = Path(f"results/machine/{self.device}.json")
        write_atomically(path, json.dumps(found, indent=1) + "\n")
        print(f"  {json.dumps(found.get('ceilings', found))}")

    def _report(self) -> None:
        """Write the report of every record and profile below the working directory."""
        records = find_records()
        folders = [Path(case.profile) for case in find_profiles()]
        medians = {
            str(record.identity): record.statistics.candidate.median_s
            for record in read_records(records)
            if record.statistics is not None
        }
        machines = {path.stem: _read(path) for path in Path("results/machine").glob("*.json")}
        placed = roofline([_read(folder / "summary.json") for folder in folders], machines, medians)
        write_atomically(ROOFLINE, json.dumps(placed, indent=1) + "\n")
        data = load_report_data(
            records,
            profiles=folders,
            config=self.config.model_dump(),
            roofline=ROOFLINE if folders else None,
        )
        html.write_report(data, Path("reports/report.html"))
        markdown.write_summary(data, Path("reports/summary.md"))
        print(f"  of {len(records)} records and {len(folders)} profiles")

    def _make_table(self) -> None:
        table, statistics = map(Path, TABLE_FILES)
        if statistics.exists():
            return
        data = self.config.data
        table.parent.mkdir(parents=True, exist_ok=True)
        write_housing(generate_housing(rows=data.rows, seed=self.config.seed), table)
        fitted = fit_table(
            table,
            features=data.features,
            target=data.target,
            validation=data.validation,
            test=data.test,
            seed=self.config.seed,
        )
        save_statistics(fitted, statistics)

    def _build_operators(self) -> None:
        library, report = map(Path, OPERATOR_FILES)
        if not report.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            build_or_tell(library=library, report=report)


def particulars(record: Record) -> list[str]:
    """Say in a few lines what a first look at a new machine wants to see of a record."""
    lines = []
    cost, found, samples = record.cost, record.statistics, record.samples
    if found is not None and samples is not None:
        lines.append(
            f"baseline {_us(found.baseline.median_s)}, candidate {_us(found.candidate.median_s)},"
            f" by events {_us(candidate_device_s(record))},"
            f" empty sample {_us(samples.empty_sample_s)},"
            f" {found.blocks} blocks, ± {_percent(found.half_width)},"
            f" noise floor {_percent(found.noise_floor)}"
        )
    if cost is not None and record.numerics is not None:
        energy = record.energy
        lines.append(
            f"prepare {cost.prepare_s:.1f} s, first call {cost.first_call_s:.1f} s,"
            f" {(cost.cuda_allocated_bytes or 0) / 1e6:.0f} MB on the GPU,"
            f" relative L2 {_error(record.numerics.relative_l2)},"
            f" J per item {energy and (energy.joules_per_item or energy.reason)}"
        )
    if record.gpu is not None:
        after = record.gpu.after
        lines.append(
            f"GPU {after.reason or ''} {after.sm_clock_mhz} MHz, {after.power_w} W,"
            f" {after.throttle_reasons}, held down {after.held_down_s}"
        )
    lines.append(
        f"{record.run.start_method}, started in {record.run.start_s:.1f} s,"
        f" {record.run.wall_s:.1f} s in all; {json.dumps(record.facts)[:300]}"
    )
    return [*lines, *filter(None, (record.no_effect, *record.warnings))]


def candidate_device_s(record: Record) -> float | None:
    """Return the candidate's median by the device's events; None where there are none."""
    blocks = record.samples.blocks if record.samples is not None else []
    timed = [block for block in blocks if block.device_seconds is not None]
    if not timed:
        return None
    _, candidate = sides(
        [block.order for block in timed], [block.device_seconds or () for block in timed]
    )
    return float(median(candidate.ravel()))


@dataclass(frozen=True)
class Pace:
    """What the steps so far took of what was expected of them."""

    taken_s: float = 0.0
    expected_s: float = 0.0

    def after(self, step: Step, taken_s: float) -> Pace:
        """Return the pace with one more step."""
        return Pace(self.taken_s + taken_s, self.expected_s + step.expected_s)

    def left_s(self, steps: Iterable[Step]) -> float:
        """Return how long other steps will take at this pace; as expected before the first."""
        expected_s = sum(step.expected_s for step in steps)
        return expected_s * (self.taken_s / self.expected_s if self.expected_s else 1.0)


def drive(
    steps: Sequence[Step],
    do: Callable[..., None],
    *,
    seconds: float,
    now: Callable[[], float] = time.monotonic,
) -> list[Step]:
    """Do steps in turn, leaving out those that do not fit into the seconds that are left.

    Parameters
    ----------
    steps
        In order of value.
    do
        Does one; takes it and ``within_s``, the seconds that are left. A fault costs this step.
    seconds
        For all of them.
    now
        Seconds of a monotonic clock.

    Returns
    -------
    list of Step
        Those that were done, in order.
    """
    deadline, pace, done = now() + seconds, Pace(), []
    for number, step in enumerate(steps, 1):
        began = now()
        if step.expected_s > deadline - began:
            print(f"-- {step}: left out, {deadline - began:.0f} s are left", flush=True)
            continue
        print(f"== {step}", flush=True)
        try:
            do(step, within_s=deadline - began)
        except Exception:  # noqa: BLE001 - the next step may work, and the time is lent
            traceback.print_exc(limit=6, file=sys.stdout)
        taken_s = now() - began
        pace, done = pace.after(step, taken_s), [*done, step]
        print(
            f"  {taken_s:.1f} s of {step.expected_s:g} expected; the other {len(steps) - number}:"
            f" about {pace.left_s(steps[number:]):.0f} s at the pace so far",
            flush=True,
        )
    return done


def kit_device(environment: Mapping[str, str]) -> Device:
    """Return what KIT_DEVICE asks for, the GPU unless told.

    Raises
    ------
    ValueError
        When it is neither.
    """
    match environment.get("KIT_DEVICE", "cuda"):
        case "cpu" | "cuda" as device:
            return device
        case other:
            raise ValueError(f"KIT_DEVICE: {other!r} is neither cpu nor cuda")


def _log(kind: str, name: Case | str) -> Path:
    path = Path("logs", kind, f"{name}.log")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""


def _ends(text: str, *, lines: int = 12) -> str:
    """Indent a text and leave out its middle: an exception stands last, where it hung first."""
    found = text.splitlines()
    left_out = len(found) - 2 * lines
    if left_out > 0:
        found[lines:-lines] = [f"… {left_out} lines"]
    return _indented("\n".join(line[:170] for line in found))


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _us(seconds: float | None) -> str:
    return "?" if seconds is None else f"{seconds * 1e6:.1f} µs"


def _error(value: float | None) -> str:
    return "?" if value is None else f"{value:.1e}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share * 100:.2f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """Drive a list; return 1 when it could not be read, or not one step could be done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.drive",
        description="Measure a list of cases in time.",
    )
    parser.add_argument("list", type=Path, help="such as benchmarks/gpu/cases/A.txt")
    parser.add_argument("seconds", type=float, help="for all of it")
    options = parser.parse_args(arguments)
    try:
        device = kit_device(os.environ)
        steps = read_steps(options.list.read_text(encoding="utf-8"), device=device)
        driver = Driver(config=read_config(), device=device, threads=usable_cores())
    except (OSError, ValueError) as error:
        print(f"{options.list}: {error}")
        return 1
    done = drive(steps, driver.do, seconds=options.seconds)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
