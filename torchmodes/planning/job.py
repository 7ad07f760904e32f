"""A job: one case, as it is sent from the script of a rule to the process that runs it.

script → `Job.planned` → `torchmodes.processes.jobs.run_job` → JSON → `Job.of` → the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torchmodes.config.modes import EagerMode, read_mode
from torchmodes.config.run import Measurement
from torchmodes.config.training_step import TrainingStep
from torchmodes.planning.cases import Case, case_from

EAGER = EagerMode(engine="eager").model_dump()
"""The mode of every baseline."""


@dataclass(frozen=True)
class Job:
    """A case with everything that running it depends on.

    Attributes
    ----------
    model, mode
        Their sections of the configuration.
    measurement
        How it is measured, how its process starts and when that is ended.
    features
        Columns of the table, for a model that takes its rows.
    train, learning_rate
        What a step of a training case is; the step size is looked up, whatever `train` says.
    table
        Paths of the table and of its statistics, for a training case of a model that reads it.
    operators
        The library of custom operators, where the mode uses it; ``build.json`` lies beside it.
    shipped
        The folder of what the case's first run made, where that is to be loaded.
    """

    case: Case
    model: dict[str, Any]
    mode: dict[str, Any]
    seed: int
    threads: int
    measurement: Measurement = field(default_factory=Measurement)
    deterministic: bool = False
    features: int | None = None
    train: TrainingStep = field(default_factory=TrainingStep)
    learning_rate: float | None = None
    table: tuple[Path, ...] = ()
    operators: Path | None = None
    shipped: Path | None = None

    def baseline(self) -> Job:
        """Return the job of the case's baseline."""
        return replace(self, case=self.case.baseline, mode=EAGER, operators=None, shipped=None)

    @property
    def parameters(self) -> dict[str, Any]:
        """What of the configuration the case depends on, and its limits: a record keeps it."""
        train = self.train.model_dump(exclude={"learning_rate"})
        optional = {
            "features": self.features,
            "train": train if self.case.task == "training" else None,
            "learning_rate": self.learning_rate,
        }
        return {
            "case": self.case.identity(),
            "model": self.model,
            "mode": self.mode,
            "measurement": self.measurement.model_dump(),
            "seed": self.seed,
            "deterministic": self.deterministic,
            **{name: value for name, value in optional.items() if value is not None},
        }

    def to_json(self) -> dict[str, Any]:
        """Return the job as `of` reads it."""
        return {
            "parameters": self.parameters,
            "threads": self.threads,
            "table": [str(path) for path in self.table],
            "operators": None if self.operators is None else str(self.operators),
            "shipped": None if self.shipped is None else str(self.shipped),
        }

    @classmethod
    def of(cls, sent: Mapping[str, Any]) -> Job:
        """Read a job from what `to_json` returned."""
        parameters, operators, shipped = sent["parameters"], sent["operators"], sent["shipped"]
        return cls(
            case=case_from(parameters["case"]),
            model=parameters["model"],
            mode=parameters["mode"],
            seed=parameters["seed"],
            threads=sent["threads"],
            # Checked with the configuration; whoever has less time may set a shorter limit.
            measurement=Measurement.model_construct(**parameters["measurement"]),
            deterministic=parameters["deterministic"],
            features=parameters.get("features"),
            train=TrainingStep.model_validate(parameters.get("train", {})),
            learning_rate=parameters.get("learning_rate"),
            table=tuple(map(Path, sent["table"])),
            operators=None if operators is None else Path(operators),
            shipped=None if shipped is None else Path(shipped),
        )

    @classmethod
    def planned(
        cls,
        parameters: Mapping[str, Any],
        limits: Mapping[str, Any],
        inputs: Mapping[str, Sequence[str]],
        *,
        threads: int,
    ) -> Job:
        """Make the job of a rule.

        The parameters are of the case's `torchmodes.planning.plan.Plan`, the limits its process's,
        the inputs the files of the rule by name: of ``table``, ``operators`` and ``shipped``, those
        that it needs.
        """
        uses_operators = read_mode(parameters["mode"]).uses_custom_operators()
        operators = inputs.get("operators", []) if uses_operators else []
        measurement = {**parameters["measurement"], **limits}
        return cls.of(
            {
                "parameters": {**parameters, "measurement": measurement},
                "threads": threads,
                "table": inputs.get("table", []),
                "operators": next(iter(operators), None),
                "shipped": next(iter(inputs.get("shipped", [])), None),
            }
        )
