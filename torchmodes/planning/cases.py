"""Cases: the points of the grid, and the only place that knows where a result lies.

A case is task × device × model × mode × precision × batch size: one job, one record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from torchmodes.config.base import Device, Precision, Task
from torchmodes.config.faults import meant
from torchmodes.config.lengths import lengths_fault
from torchmodes.config.models import cannot_generate
from torchmodes.config.modes import BASELINE_MODE, BASELINE_PRECISION, cannot_do
from torchmodes.config.run import Config, Grid

TABLE = "results/data/housing.csv"
TABLE_STATISTICS = "results/data/statistics.json"
TABLE_FILES = (TABLE, TABLE_STATISTICS)
OPERATOR_FILES = ("results/operators/torchmodes_ops.so", "results/operators/build.json")
"""The library of custom operators, and how building it went."""
SUMMARY = "results/summary.csv"
FURTHER_RUNS = "results/further_runs.json"
"""How many runs beyond `measurement.runs` cases are to have."""

CASE_PATH = "{task}/{device}/{model}/{mode}/{precision}-b{batch_size}"
_PATTERNS = {
    "task": "|".join(get_args(Task)),
    "device": "|".join(get_args(Device)),
    "model": "[^/]+",
    "mode": "[^/]+",
    "precision": "|".join(get_args(Precision)),
    "batch_size": "[1-9][0-9]*",
}
CASE_PATTERN = CASE_PATH.format(**{name: f"(?:{one})" for name, one in _PATTERNS.items()})
"""What a case is in a path, as a regular expression without groups."""
_CASE = re.compile(
    "(?:^|/)"
    + CASE_PATH.format(**{name: f"(?P<{name}>{one})" for name, one in _PATTERNS.items()})
    + "(?=[./]|$)"
)


@dataclass(frozen=True, order=True)
class Case:
    """One point of the grid."""

    task: Task
    device: Device
    model: str
    mode: str
    precision: Precision
    batch_size: int

    def __str__(self) -> str:
        """Return the case as it stands in every path: ``task/device/model/mode/fp32-b8``."""
        return CASE_PATH.format_map(vars(self))

    def identity(self) -> dict[str, Any]:
        """Return the six fields as a plain dictionary."""
        return dict(vars(self))

    @property
    def record(self) -> str:
        """Path of the benchmark record."""
        return f"results/benchmark/{self}.json"

    def run_record(self, number: int) -> str:
        """Path of what one of its processes measured, which the record is joined of."""
        return f"results/runs/{self}/{number}.json"

    @property
    def shipped(self) -> str:
        """Folder of what a deployment takes with it, as its first run made it."""
        return f"results/shipped/{self}"

    @property
    def profile(self) -> str:
        """Directory of the profile."""
        return f"results/profile/{self}"

    def diff(self, other: Case) -> str:
        """Path of what changed from this case's profile to another's."""
        return f"results/profile/diff/{self.run}--vs--{other.run}.json"

    @property
    def run(self) -> str:
        """Name of the TensorBoard run, such as ``resnet50-inductor-fp32-b8``."""
        names = [self.model, self.mode, self.precision, f"b{self.batch_size}"]
        if self.device != "cpu":
            names.append(self.device)
        return "-".join(names if self.task == "inference" else [self.task, *names])

    @property
    def mode_named(self) -> str:
        """Mode, and precision where it is not the baseline's or the mode has it in its name."""
        told = {BASELINE_PRECISION, *self.mode.split("-")}
        return self.mode if self.precision in told else f"{self.mode} {self.precision}"

    @property
    def baseline(self) -> Case:
        """Eager fp32 of the same task, device, model and batch size."""
        return replace(self, mode=BASELINE_MODE, precision=BASELINE_PRECISION)

    @property
    def is_baseline(self) -> bool:
        """Whether this is the A/A case of its group: eager against a second eager instance."""
        return (self.mode, self.precision) == (BASELINE_MODE, BASELINE_PRECISION)


def parse_case(path: str | PurePosixPath) -> Case:
    """Return the case that a path names: the inverse of every path a case has.

    Raises
    ------
    ValueError
        When the path does not name a case.
    """
    case = case_at(Path(path))
    if case is None:
        raise ValueError(f"{path}: not the path of a case ({CASE_PATH})")
    return case


def case_at(path: Path) -> Case | None:
    """Return the case whose result lies at a path; None where the path names none."""
    match = _CASE.search(path.as_posix())
    return None if match is None else case_from(match.groupdict())


def case_from(identity: Mapping[str, Any]) -> Case:
    """Build a case from a mapping that has its fields, strings included."""
    fields: dict[str, Any] = {name: identity[name] for name in _PATTERNS}
    fields["batch_size"] = int(identity["batch_size"])
    return Case(**fields)


def expand_grids(grids: Iterable[Grid], *, auto: Device) -> list[Case]:
    """Return the cases of blocks of the grid and the baseline of each: sorted, without repetition.

    `auto` is the device that ``auto`` stands for on this machine.
    """
    cases = {
        Case(grid.task, auto if device == "auto" else device, model, mode, precision, batch_size)
        for grid in grids
        for device in grid.devices
        for model in grid.models
        for mode in grid.modes
        for precision in grid.precisions
        for batch_size in grid.batch_sizes
    }
    return sorted(cases | {case.baseline for case in cases})


def pair_modes(cases: Iterable[Case], pairs: Iterable[Sequence[str]]) -> list[tuple[Case, Case]]:
    """Return the pairs of cases that differ in nothing but the mode, for pairs of modes."""
    known = set(cases)
    return [
        (case, other)
        for a, b in pairs
        for case in sorted(known)
        if case.mode == a and (other := replace(case, mode=b)) in known
    ]


def check_case(config: Config, case: Case) -> None:
    """Refuse a case that the configuration cannot mean, as it would in a block of the grid.

    Raises
    ------
    ValueError
        When it defines no such model or mode, or when what should train cannot.
    """
    for kind, name, known in (
        ("model", case.model, config.models),
        ("mode", case.mode, config.modes),
    ):
        if name not in known:
            raise ValueError(
                f"{case}: the configuration has no {kind} {name!r}{meant(name, known)}"
            )
    block = {"task": case.task, "batch_sizes": [case.batch_size]}
    model = config.models[case.model]
    if fault := lengths_fault(model.model_dump(include={"lengths", "schedule"}), block):
        raise ValueError(f"{case}: {fault}")
    if case.task == "generation" and (fault := cannot_generate(model.model_dump())):
        raise ValueError(f"{case}: {case.model!r} {fault}")
    engine = config.modes[case.mode].engine
    if fault := cannot_do(engine, case.task):
        raise ValueError(f"{case}: {case.mode!r} has the engine {engine}, which {fault}")


def training_case(config: Config, mode: str, *, auto: Device) -> Case:
    """Return the case that training in a mode is; `auto` as in `expand_grids`."""
    training = config.training
    device = auto if training.device == "auto" else training.device
    return Case("training", device, training.model, mode, "fp32", training.batch_size)


def training_metrics(mode: str) -> str:
    """Path of what a training in a mode tells; asking for it trains."""
    return f"results/training/{mode}/metrics.json"


def trained_model(mode: str) -> str:
    """Directory of the model trained in a mode: its weights and what the mode exports."""
    return f"results/training/{mode}/model"


def find_records(folder: Path = Path("results/benchmark")) -> list[Path]:
    """Return every benchmark record of a folder, sorted: by default that of this run.

    It looks where records lie and nowhere else, so that any folder can be asked.
    """
    found = (path for task in get_args(Task) for path in folder.glob(f"{task}/*/*/*/*.json"))
    return sorted(path for path in found if case_at(path) is not None)


def find_profiles() -> list[Case]:
    """Return the cases that have a profile below the working directory, sorted."""
    found = map(case_at, Path("results/profile").glob("*/*/*/*/*/summary.json"))
    return sorted(case for case in found if case is not None)


def find_trainings() -> list[str]:
    """Return the modes that a model was trained in below the working directory, eager first."""
    found = [path.name for path in Path("results/training").glob("*") if path.is_dir()]
    return sorted(found, key=lambda mode: (mode != BASELINE_MODE, mode))
