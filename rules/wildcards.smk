# Functions of a job's wildcards: the case that they name, and what its result depends on.
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

from torchmodes.workloads import models
from torchmodes.workloads import modes
from torchmodes.planning.cases import LIMITS, Case, case_from, case_parameters, job_parameters
from torchmodes.report.comparison.runs import record_files
from torchmodes.planning.conda import environment_file
from torchmodes.config.faults import meant
from torchmodes.planning.provenance import code_digest, compilers, installed
from torchmodes.planning.user_code import user_files


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
    return case_parameters(CONFIG, case)


@cache
def digest_for(script, target, engine, family, files):
    """Return the digest of all code behind the results of an engine and a family."""
    return code_digest(script, target, engine, family, files=files)


@cache
def software_for(packages, compiled_for):
    """Return the versions of packages, and the compilers where code is compiled for a device."""
    found = compilers(os.environ, cuda=compiled_for == "cuda") if compiled_for else {}
    return SOFTWARE | installed(*packages) | found


@cache
def weights_for(model):
    """Return the state of the folder that a model's weights come from."""
    return models.weights_stamp(CONFIG.models[model].model_dump())


def job_parameters_of(wildcards):
    """Return what of the configuration a job depends on that measures nothing."""
    return job_parameters(CONFIG, case_of(wildcards))


def limits_of(wildcards, output):
    """Return the limits of a job's process; a result within them does not depend on them.

    `output` is there for Snakemake: what is derived from it is no reason to run a job again.
    """
    return {name: getattr(CONFIG.measurement, name) for name in LIMITS}


def code_of(script, target):
    """Return a function of the wildcards: the digest of all code behind a case's result.

    A script starts its target, the module that works in a process of its own, by name.
    """

    return lambda wildcards: code_behind(script, target, one_of_a_kind(wildcards))


def one_of_a_kind(wildcards):
    """Return the case that stands for those which only their batch sizes tell apart.

    They share code, software and environment, which are looked up once.
    """
    return replace(case_of(wildcards), batch_size=1)


@cache
def code_behind(script, target, case):
    """Return the digest of all code behind a case's result."""
    parameters = parameters_for(case)
    model, mode = parameters["model"], parameters["mode"]
    return digest_for(
        script,
        target,
        modes.ENGINES[mode["engine"]],
        models.FAMILIES[model["family"]],
        (*user_files(model), *user_files(mode)),
    )


def software_of(wildcards):
    """Return what a case runs on, as `software_behind` tells it."""
    return software_behind(one_of_a_kind(wildcards))


@cache
def software_behind(case):
    """Return the versions of what a case runs on, and of the folder its weights come from."""
    parameters = parameters_for(case)
    model, mode = parameters["model"], parameters["mode"]
    packages = (*models.PACKAGES.get(model["family"], ()), *modes.packages_of(mode))
    software = software_for(packages, case.device if modes.needs_compiler(mode) else None)
    return software | {"weights": weights_for(case.model)}


def conda_of(wildcards):
    """Return the conda environment of a case, as a rule names it."""
    return conda_behind(one_of_a_kind(wildcards))


@cache
def conda_behind(case):
    """Return the conda environment of a case."""
    return conda_for([parameters_for(case)])


def study_conda(wildcards):
    """Return the conda environment of a study that runs cases itself."""
    return conda_for([case_parameters(CONFIG, case) for case in studied(wildcards)])


def conda_for(cases):
    """Return the environment file that has what all these cases import, from this folder."""
    try:
        return str(Path("..", environment_file(cases)))
    except ValueError as error:
        refuse(error)


def studied(wildcards):
    """Return the cases of a study; the baselines that blocks imply where it takes them."""
    entry = STUDY_ENTRIES[wildcards.study]
    return [case for case in STUDIED[entry.name] if entry.baselines or not case.is_baseline]


def study_cases(wildcards):
    """Return what of the configuration a study's cases depend on."""
    depends = case_parameters if STUDY_ENTRIES[wildcards.study].samples else job_parameters
    return [depends(CONFIG, case) for case in studied(wildcards)]


def study_modes(wildcards):
    """Return the configuration of the modes that a study made of records compares."""
    return {case.mode: CONFIG.modes[case.mode].model_dump() for case in STUDIED[wildcards.study]}


def study_code(wildcards):
    """Return the digests of all code behind a study that runs cases itself."""
    entry = STUDY_ENTRIES[wildcards.study]
    behind = {
        code_behind("scripts/measure_study.py", entry.child, case) for case in studied(wildcards)
    }
    return [code_digest("scripts/measure_study.py", entry.module), *sorted(behind)]


def study_software(wildcards):
    """Return what each case of a study runs on that runs them itself."""
    return [software_behind(case) for case in studied(wildcards)]


def study_table(wildcards):
    """Return the table for a study with cases that step through it."""
    return TABLE if any(case.task == "training" for case in studied(wildcards)) else []


def study_operators(wildcards):
    """Return the custom operators for a study in which a mode uses them."""
    return OPERATORS if any(map(needs_operators, studied(wildcards))) else []


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
        raise ValueError("say with which run to compare: --config base=path/of/its/results")
    try:
        return [str(path) for path in record_files(Path(CONFIG.base))]
    except ValueError as error:
        raise ValueError(f"base: {error}") from None


def gpus_of(wildcards):
    """Return how many GPUs a case occupies; None asks a scheduler for nothing, unlike 0."""
    return 1 if case_of(wildcards).device == "cuda" else None


def study_minutes(wildcards):
    """Return the minutes of a study that starts up to so many processes for a case."""
    processes = STUDY_ENTRIES[wildcards.study].processes
    return 5 + PROCESS_MINUTES * processes * len(studied(wildcards))


def study_gpus(wildcards):
    """Return how many GPUs a study occupies; None asks a scheduler for nothing, unlike 0."""
    return 1 if any(case.device == "cuda" for case in STUDIED[wildcards.study]) else None


def directory_of(run):
    """Return the directory of the profile behind a TensorBoard run's name."""
    if run not in RUNS:
        raise ValueError(f"no case under `profile` has the run {run!r}{meant(run, RUNS)}")
    return RUNS[run].profile


def profile_of(wildcards):
    """Return the trace behind a TensorBoard run."""
    return f"{directory_of(wildcards.run)}/trace.json.gz"
