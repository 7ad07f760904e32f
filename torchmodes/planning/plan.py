"""The plan of a case: what its result depends on, and what its job needs.

The rules ask for it several times per case, and a run may have ten thousand cases, so answers are
cached.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from torchmodes.config.models import ModelSection, family_module
from torchmodes.config.modes import engine_module
from torchmodes.config.run import Config
from torchmodes.config.training_step import LEARNING_RATE
from torchmodes.planning.cases import OPERATOR_FILES, TABLE_FILES, Case, check_case
from torchmodes.planning.conda import environment_file
from torchmodes.planning.provenance import code_digest, compilers, folder_state, installed
from torchmodes.planning.user_code import user_files

BASE_PACKAGES = ("torch", "numpy")
"""A newer one makes every result stale."""

LIMITS = ("time_limit_s", "memory_limit_mb")
"""What of `measurement` ends a process, and changes nothing of one that stays within it."""

NOT_OF_A_RUN = (*LIMITS, "runs")
"""What of it changes no run: more of them are measured beside those that are there."""

OF_SCORES = ("quality", "quality_margin")
"""What of a model's section says how its cases are scored, and changes nothing of what runs."""


def limits(config: Config) -> dict[str, Any]:
    """Return the limits of a process; a result within them does not depend on them."""
    return config.measurement.model_dump(include=set(LIMITS))


def learning_rate(config: Config, model: ModelSection) -> float:
    """Return the step size of a model: its own, or else that of the table's training."""
    of_family = config.training.learning_rate if model.reads_table else LEARNING_RATE
    return model.train.learning_rate or of_family


@dataclass(frozen=True)
class Plan:
    """What the result of one case depends on, and what its job needs.

    `further` are the runs that it is to have after each further look at it, beyond those
    configured.

    Raises
    ------
    ValueError
        When the configuration cannot mean the case; see `check_case`.
    """

    config: Config
    case: Case
    further: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_case(self.config, self.case)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """All of the configuration that the result depends on, and nothing else.

        Snakemake re-runs a job when its parameters change, so what stands here decides what an edit
        of ``config.yaml`` makes stale. The `limits` do not.
        """
        config, case = self.config, self.case
        model = config.models[case.model]
        parameters = {
            "case": case.identity(),
            "model": model.model_dump(
                exclude={"train"} if case.task == "generation" else {"train", "generation"}
            ),
            "mode": config.modes[case.mode].model_dump(),
            "measurement": config.measurement.model_dump(exclude=set(NOT_OF_A_RUN)),
            "seed": config.seed,
            "deterministic": config.deterministic,
        }
        if model.reads_table:
            parameters["features"] = len(config.data.features)
        if case.task == "training":
            parameters["train"] = model.train.model_dump(exclude={"learning_rate"})
            parameters["learning_rate"] = learning_rate(config, model)
        return parameters

    @cached_property
    def unsampled_parameters(self) -> dict[str, Any]:
        """The `parameters` of a training, a profile or a start: nothing is sampled or scored."""
        model = self.parameters["model"] | dict.fromkeys(OF_SCORES)
        measurement = self.config.measurement.model_dump(include={"start", "allocator"})
        return self.parameters | {"measurement": measurement, "model": model}

    def code(self, script: str, target: str) -> str:
        """Return the digest of all code behind the result.

        That of the rule's script, and of the module that it starts in a process of its own.
        """
        engine = self.config.modes[self.case.mode].engine
        family = self.config.models[self.case.model].family
        modules = (target, engine_module(engine), family_module(family))
        return _code(script, *modules, files=self._user_files)

    @cached_property
    def software(self) -> dict[str, Any]:
        """The versions that the case runs on, compilers where it is compiled, and its weights."""
        model, mode = self.config.models[self.case.model], self.config.modes[self.case.mode]
        found = _compilers(cuda=self.case.device == "cuda") if mode.needs_compiler() else {}
        return {
            **_installed(*BASE_PACKAGES, *model.packages, *mode.all_packages()),
            **found,
            "weights": _folder_state(model.weights_folder()),
        }

    @cached_property
    def conda(self) -> Path:
        """The file of its conda environment; see `environment_file`."""
        return environment_file([self.parameters])

    @cached_property
    def inputs(self) -> dict[str, list[str]]:
        """The files that it reads, by name: the table, the custom operators, the texts."""
        mode = self.config.modes[self.case.mode]
        model = self.config.models[self.case.model]
        reads = self.case.task == "training" and model.reads_table
        table = {"table": [*TABLE_FILES]} if reads else {}
        texts = model.texts_file()
        return (
            table
            | ({"operators": [*OPERATOR_FILES]} if mode.uses_custom_operators() else {})
            | ({} if texts is None else {"texts": [str(texts)]})
        )

    def run_inputs(self, number: int) -> dict[str, Any]:
        """Return the `inputs`; of a later run the first, too: it starts from what that made."""
        if number == 1:
            return self.inputs
        first = self.inputs | {"first": self.case.run_record(1)}
        # A step of a training is prepared with its optimiser: there is nothing to load.
        return first if self.case.task == "training" else first | {"shipped": [self.case.shipped]}

    def profile_inputs(self, *, measured: bool) -> dict[str, Any]:
        """Return what its profile reads: of a pick that is measured anyway, what that shipped."""
        loads = measured and self.config.profile.picks and not self.case.is_baseline
        return self.run_inputs(2) if loads else self.inputs

    @cached_property
    def run_records(self) -> list[str]:
        """The files of its runs."""
        runs = max(self.config.measurement.runs, *self.further, 1)
        return [self.case.run_record(n) for n in range(1, runs + 1)]

    @property
    def gpus(self) -> int | None:
        """How many GPUs it occupies; None asks a scheduler for nothing, unlike 0."""
        return 1 if self.case.device == "cuda" else None

    @cached_property
    def _user_files(self) -> tuple[Path, ...]:
        sections = (self.parameters.get(name, {}) for name in ("model", "mode", "train"))
        return tuple(file for section in sections for file in user_files(section))


@dataclass(frozen=True)
class StudyPlan:
    """The plans of the cases that a study runs itself, in one job."""

    plans: tuple[Plan, ...]

    def code(self, script: str, target: str) -> list[str]:
        """Return the digests of all code behind the study; see `Plan.code`."""
        return sorted({plan.code(script, target) for plan in self.plans})

    @property
    def software(self) -> list[dict[str, Any]]:
        """What each case runs on."""
        return [plan.software for plan in self.plans]

    @property
    def conda(self) -> Path:
        """The conda environment that has what all cases import."""
        return environment_file(plan.parameters for plan in self.plans)

    @property
    def inputs(self) -> dict[str, list[str]]:
        """What any of the cases reads."""
        found: dict[str, list[str]] = {}
        for plan in self.plans:
            for name, files in plan.inputs.items():
                found[name] = list(dict.fromkeys([*found.get(name, []), *files]))
        return found

    @property
    def gpus(self) -> int | None:
        """How many GPUs the study occupies."""
        return max((plan.gpus for plan in self.plans if plan.gpus), default=None)


_installed, _folder_state = cache(installed), cache(folder_state)


@cache
def _code(script: str, *modules: str, files: tuple[Path, ...]) -> str:
    return code_digest(script, *modules, files=files)


@cache
def _compilers(*, cuda: bool) -> dict[str, list[str]]:
    return compilers(os.environ, cuda=cuda)
