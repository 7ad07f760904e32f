import math
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

from torchmodes import models, modes
from torchmodes.cases import (
    LIMITS,
    Case,
    case_from,
    case_parameters,
    expand_grids,
    job_parameters,
    pair_modes,
)
from torchmodes.comparison.runs import record_files
from torchmodes.conda import environment_file
from torchmodes.config import SYNTHETIC, parse_config
from torchmodes.devices import find_device, usable_cores
from torchmodes.faults import InvalidConfig
from torchmodes.profiling.machine import machine_fingerprint
from torchmodes.provenance import code_digest, installed
from torchmodes.supervision.supervise import START_LIMIT_S
from torchmodes.user_code import user_files
from torchmodes.writing import require_writable

# Snakemake starts a script by this name without quoting it: quoted, the path may have a space.
if Path(sys.executable).exists():
    sys.executable = shlex.quote(sys.executable)

try:
    CONFIG = parse_config(config)
except InvalidConfig as error:
    raise WorkflowError(str(error)) from None

# A faulty file of the user's is told before anything runs, not by a job among others.
SOURCE, CHECKED = Path(CONFIG.data.source), Path("results/data/housing.csv")
if CONFIG.data.source != SYNTHETIC and (
    not CHECKED.exists()
    or not SOURCE.exists()  # or Snakemake would go on with the table of an earlier source
    or SOURCE.stat().st_mtime > CHECKED.stat().st_mtime
):
    from torchmodes.training.table import read_table

    try:
        read_table(SOURCE, features=CONFIG.data.features, target=CONFIG.data.target)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from None

AUTO_DEVICE = find_device()
STUDIED = {
    study: expand_grids(getattr(CONFIG.studies, study), auto=AUTO_DEVICE)
    for study in type(CONFIG.studies).model_fields
}
# Studies that are made of records share them with the benchmark.
CASES = sorted(
    {
        *expand_grids(CONFIG.benchmark, auto=AUTO_DEVICE),
        *STUDIED["inference_context"],
        *STUDIED["batch_scaling"],
    }
)
PROFILED = expand_grids(CONFIG.profile.cases, auto=AUTO_DEVICE)
RUNS = {case.run: case for case in PROFILED}

# With `--sdm apptainer` every job runs in this image, where somebody has made it.
IMAGE = Path(workflow.basedir, "torchmodes.sif")


container: str(IMAGE) if IMAGE.exists() else None


# Measured jobs use the cores that were asked for, but never more than there are. For a cluster nobody
# asks for a number of cores (and workflow.cores is an error): its profile sets each rule's threads.
MEASURED_THREADS = min(workflow.resource_settings.cores or usable_cores(), usable_cores())

# A process is killed at its time limit, and its imports have one of their own. A cluster's scheduler
# is told the worst, with a little more: there each job starts Snakemake three times.
PROCESS_MINUTES = math.ceil((START_LIMIT_S + CONFIG.measurement.time_limit_s) / 60)
MINUTES = 5 + PROCESS_MINUTES

# A newer PyTorch makes every result stale.
SOFTWARE = installed("torch", "numpy")

TABLE = ["results/data/housing.csv", "results/data/statistics.json"]
OPERATORS = ["results/operators/torchmodes_ops.so", "results/operators/build.json"]
OPERATOR_SOURCES = sorted(Path(workflow.basedir, "torchmodes/operators/source").iterdir())
USING_OPERATORS = {
    name for name, mode in CONFIG.modes.items() if modes.uses_custom_operators(mode.model_dump())
}
TEMPLATES = sorted(Path(workflow.basedir, "torchmodes/report/templates").iterdir())
RECORDS = [case.record for case in CASES]
METRICS = [f"results/training/{mode}/metrics.json" for mode in CONFIG.training.modes]
HISTORIES = [f"results/training/{mode}/history.csv" for mode in CONFIG.training.modes]
PROFILES = [f"{case.profile}/summary.json" for case in PROFILED]
STUDIES = [f"results/studies/{study}.json" for study, cases in STUDIED.items() if cases]
STUDY_PLOTS = [f"results/plots/study-{Path(study).stem}.svg" for study in STUDIES]
DIFFS = [a.diff(b) for a, b in pair_modes(PROFILED, CONFIG.profile.diffs)]
MACHINES = sorted({f"results/machine/{case.device}.json" for case in PROFILED})
ROOFLINE = ["results/roofline.json"] if PROFILED else []
PROFILED_RECORDS = sorted({case.record for case in PROFILED} & set(RECORDS))
TRACES = [f"results/tensorboard/{run}/torchmodes.pt.trace.json.gz" for run in RUNS]

if len(RUNS) < len(PROFILED):
    raise WorkflowError(
        "two profiled cases have the same TensorBoard run name; rename a model or a mode: "
        + ", ".join(sorted({case.run for case in PROFILED if RUNS[case.run] != case}))
    )


wildcard_constraints:
    task="training|inference",
    device="cpu|cuda|mps",
    model="[^/]+",
    mode="[^/]+",
    precision="[a-z0-9]+",
    batch_size="[1-9][0-9]*",
    run="[^/]+",
    study="|".join(STUDIED),
    a="[^/]+",
    b="[^/]+",


def case_of(wildcards):
    """Return the case that a job's wildcards name; a training job has only a mode."""
    if "task" in wildcards.keys():
        return case_from(wildcards)
    device = AUTO_DEVICE if CONFIG.training.device == "auto" else CONFIG.training.device
    return Case(
        task="training",
        device=device,
        model=CONFIG.training.model,
        mode=wildcards.mode,
        precision="fp32",
        batch_size=CONFIG.training.batch_size,
    )


def parameters_of(wildcards):
    """Return what of the configuration a case depends on."""
    return parameters_for(case_of(wildcards))


# A dry run asks for these several times a case; ten thousand cases share a few answers.
@cache
def parameters_for(case):
    """Return what of the configuration a case depends on."""
    try:
        return case_parameters(CONFIG, case)
    except ValueError as error:
        raise WorkflowError(str(error)) from None


@cache
def digest_for(script, target, engine, family, files):
    """Return the digest of all code behind the results of an engine and a family."""
    return code_digest(script, target, engine, family, files=files)


@cache
def software_for(family, engine):
    """Return the versions of what an engine and a family run on."""
    packages = (*models.PACKAGES.get(family, ()), *modes.PACKAGES.get(engine, ()))
    return SOFTWARE | installed(*packages)


@cache
def weights_for(model):
    """Return the state of the folder that a model's weights come from."""
    return models.weights_stamp(CONFIG.models[model].model_dump())


def job_parameters_of(wildcards):
    """Return what of the configuration a job depends on that measures nothing."""
    parameters_of(wildcards)  # tells an unknown model or mode
    return job_parameters(CONFIG, case_of(wildcards))


def code_of(script, target):
    """Return a function of the wildcards: the digest of all code behind a case's result.

    A script starts its target, the module that works in a process of its own, by name.
    """

    def digest(wildcards):
        parameters = parameters_of(wildcards)
        model, mode = parameters["model"], parameters["mode"]
        return digest_for(
            script,
            target,
            modes.ENGINES[mode["engine"]],
            models.FAMILIES[model["family"]],
            (*user_files(model), *user_files(mode)),
        )

    return digest


def software_of(wildcards):
    """Return the versions of what a case runs on, and of the folder its weights come from."""
    parameters = parameters_of(wildcards)
    software = software_for(parameters["model"]["family"], parameters["mode"]["engine"])
    return software | {"weights": weights_for(case_of(wildcards).model)}


def conda_of(wildcards):
    """Return the conda environment of a case, as a rule names it."""
    return conda_for([parameters_of(wildcards)])


def study_conda(study):
    """Return the conda environment of a study that runs cases itself."""
    return conda_for([case_parameters(CONFIG, case) for case in studied(study)])


def conda_for(cases):
    """Return the environment file that has what all these cases import, from this folder."""
    try:
        return str(Path("..", environment_file(cases)))
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def studied(study):
    """Return the cases of a study that were asked for, without the baselines they imply."""
    return [case for case in STUDIED[study] if study == "thread_scaling" or not case.is_baseline]


def job_inputs(study):
    """Return what the jobs of a study's cases depend on."""
    return [job_parameters(CONFIG, case) for case in studied(study)]


def study_code(script, target):
    """Return the digest of all code behind a study that runs cases itself."""
    return code_digest(
        f"scripts/{script}.py", target, *modes.ENGINES.values(), *models.FAMILIES.values()
    )


def needs_operators(case):
    """Whether a case's mode uses the custom operators."""
    return case.mode in USING_OPERATORS


def operators_of(wildcards):
    """Return the custom operators, and how building them went, where a mode uses them."""
    return OPERATORS if needs_operators(case_of(wildcards)) else []


def table_of(wildcards):
    """Return the table for a case that steps through it."""
    return TABLE if wildcards.task == "training" else []


def inputs_of(wildcards):
    """Return what a case is measured with: table, operators, and its group's A/A record.

    Its noise floor is what the verdict is judged against.
    """
    case = case_of(wildcards)
    inputs = {
        "table": table_of(wildcards),
        "operators": operators_of(wildcards),
        "aa": [] if case.is_baseline else case.baseline.record,
    }
    return {name: files for name, files in inputs.items() if files}


def base_records(wildcards):
    """Return the records of the run to compare with."""
    if CONFIG.base is None:
        raise WorkflowError("say with which run to compare: --config base=path/of/its/results")
    try:
        return [str(path) for path in record_files(Path(CONFIG.base))]
    except ValueError as error:
        raise WorkflowError(f"base: {error}") from None


def gpus_of(wildcards):
    """Return how many GPUs a case occupies; None asks a scheduler for nothing, unlike 0."""
    return 1 if case_of(wildcards).device == "cuda" else None


def study_minutes(study, *, processes):
    """Return the minutes of a study that starts up to so many processes for a case."""
    return 5 + PROCESS_MINUTES * processes * len(studied(study))


def study_gpus(study):
    """Return a function of the wildcards: how many GPUs a study occupies, or None."""
    needed = 1 if any(case.device == "cuda" for case in STUDIED[study]) else None
    return lambda wildcards: needed


def directory_of(run):
    """Return the directory of the profile behind a TensorBoard run's name."""
    if run not in RUNS:
        raise WorkflowError(f"no profiled case has the run {run}; there are {', '.join(RUNS)}")
    return RUNS[run].profile


def profile_of(wildcards):
    """Return the trace behind a TensorBoard run."""
    return f"{directory_of(wildcards.run)}/trace.json.gz"


def check_folders():
    """Tell at once, instead of once a job, that results cannot be written."""
    try:
        require_writable(Path("results"), Path("reports"), Path("logs"))
    except ValueError as error:
        raise WorkflowError(str(error)) from None


def print_summary():
    """Tell on the terminal how every case came out, once all are there."""
    records, metrics = map(Path, RECORDS), [Path(path) for path in METRICS]
    if all(map(Path.exists, [*map(Path, RECORDS), *metrics])):
        from torchmodes.report.data import load_report_data
        from torchmodes.report.terminal import print_summary

        print_summary(load_report_data([*records], metrics, [], CONFIG.model_dump()))
