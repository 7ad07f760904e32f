# Functions of a job's wildcards, which name a case or a profile.
import os
from functools import cache
from pathlib import Path

from torchmodes.planning.cases import parse_case, training_case
from torchmodes.config.faults import meant
from torchmodes.planning.plan import Plan, StudyPlan, limits

PROCESS_LIMITS = limits(CONFIG)


@cache
def plan_for(name):
    """Return the plan of a case by its name; cached, because its rule asks several times per job."""
    case = parse_case(name)
    return Plan(CONFIG, case, FURTHER.of(case))


def plan(wildcards):
    """Return the plan of the case that a job's wildcards name; a training job has only a mode."""
    if "case" in wildcards.keys():
        return plan_for(wildcards.case)
    return plan_for(str(training_case(CONFIG, wildcards.mode, auto=AUTO_DEVICE)))


def study_of(wildcards):
    """Return the plan of a study that runs cases itself."""
    return study_plan(wildcards.study)


@cache
def study_plan(name):
    """Return the plan of a study, with the baselines that its blocks imply if it uses them."""
    cases = STUDIED[name]
    if not STUDY_ENTRIES[name].baselines:
        cases = [case for case in cases if not case.is_baseline]
    return StudyPlan(tuple(plan_for(str(case)) for case in cases))


def study_cases(wildcards):
    """Return the parts of the configuration that a study's cases depend on."""
    if STUDY_ENTRIES[wildcards.study].samples:
        return [each.parameters for each in study_of(wildcards).plans]
    return [each.unsampled_parameters for each in study_of(wildcards).plans]


def study_code(wildcards):
    """Return the digests of all code behind a study that runs cases itself."""
    entry = STUDY_ENTRIES[wildcards.study]
    script = "scripts/measure_study.py"
    return [code_digest(script, entry.module), *study_of(wildcards).code(script, entry.child)]


def study_modes(wildcards):
    """Return the configuration of the modes that a study made of records compares."""
    return {case.mode: CONFIG.modes[case.mode].model_dump() for case in STUDIED[wildcards.study]}


def limits_of(wildcards, output):
    """Return the limits of a job's process.

    `output` is unused, but a parameter whose function takes it does not make Snakemake rerun a job.
    """
    return PROCESS_LIMITS


def conda_of(planned):
    """Return the path of a plan's conda environment, relative to this folder."""
    try:
        return os.path.join("..", planned.conda)
    except ValueError as error:
        refuse(error)


def study_minutes(wildcards):
    """Return the time limit of a study in minutes, from the processes that it starts per case."""
    processes = STUDY_ENTRIES[wildcards.study].processes
    return 5 + PROCESS_MINUTES * processes * len(study_of(wildcards).plans)


def records(wildcards):
    """Return the records of all cases; a function, so that only jobs that read them list them."""
    return RECORDS


def profiled_records(wildcards):
    """Return the records of profiled cases; all of them, where the picks depend on them."""
    return RECORDS if PICKS else sorted({case.record for case in PROFILED} & {*RECORDS})


def base_records(wildcards):
    """Return the records of the run to compare with."""
    if CONFIG.base is None:
        raise ValueError("name the run to compare with: --config base=path/of/its/results")
    # Imported here, because it imports SciPy and each job starts Snakemake again.
    from torchmodes.report.comparison.runs import record_files

    try:
        return [str(path) for path in record_files(Path(CONFIG.base))]
    except ValueError as error:
        raise ValueError(f"base: {error}") from None


def directory_of(run):
    """Return the directory of the profile behind a TensorBoard run's name."""
    if run not in RUNS:
        raise ValueError(f"no case under `profile` has the run {run!r}{meant(run, RUNS)}")
    return RUNS[run].profile


def profile_of(wildcards):
    """Return the trace behind a TensorBoard run."""
    return f"{directory_of(wildcards.run)}/trace.json.gz"


def chosen():
    """Return the cases that are profiled because they were picked.

    Until `choose_profiled` has run this raises, and Snakemake asks again later.
    """
    if not PICKS:
        return ChosenProfiles()
    try:
        return read_chosen(Path(checkpoints.choose_profiled.get().output[0]))
    except CorruptFile as error:
        raise WorkflowError(str(error)) from None


def profiled():
    """Return all cases that are profiled, sorted."""
    return sorted({*PROFILED, *chosen().profiled})


def profile_inputs_of(wildcards):
    """Return the input files of a case's profile."""
    of_case = plan(wildcards)
    return of_case.profile_inputs(measured=of_case.case in MEASURED)


def schedule_of(wildcards):
    """Return the settings of `profile` that a case's profile depends on."""
    case = plan(wildcards).case
    return CONFIG.profile.schedule(CONFIG.modes[case.mode], listed=case in PROFILED)


def label_of(title, wildcards):
    """Return the label of a profile's figure in Snakemake's own report."""
    case = plan(wildcards).case
    told = f"{case.task} {case.model} {case.mode} {case.precision} batch {case.batch_size}"
    return {"figure": f"{title}, {told}"}


def of_profiles(rule):
    """Return the outputs of a rule for all profiled cases."""
    return [path.format(case=case) for case in profiled() for path in rule.output]


def profiles(wildcards):
    """Return the summaries of all profiles."""
    return [f"{case.profile}/summary.json" for case in profiled()]


def profile_figures(wildcards):
    """Return the figures of each profile."""
    return of_profiles(rules.draw_profile)


def machines(wildcards):
    """Return the peaks of every device that something is profiled on."""
    return sorted({f"results/machine/{case.device}.json" for case in profiled()})


def traces(wildcards):
    """Return the traces that TensorBoard shows."""
    return [f"results/tensorboard/{case.run}/torchmodes.pt.trace.json.gz" for case in profiled()]


def diffs(wildcards):
    """Return the comparisons of profiles."""
    return sorted({*DIFFS, *(a.diff(b) for a, b in chosen().compared)})
