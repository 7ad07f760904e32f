# What the command line asks for, checked before anything is planned: an exception in an input function
# would be shown by Snakemake among wildcards and a traceback.
import os
import sys

from snakemake.iocontainers import Wildcards

from torchmodes.config.faults import nearest
from torchmodes.planning.cases import OPERATOR_FILES, TABLE_FILES


def missing_files(wildcards):
    """Return intermediate files that were deleted since the report was made; none before that.

    Snakemake does not notice that a file between existing inputs and outputs is missing.
    """
    if not os.path.exists(rules.write_report.output[0]):
        return []
    between = [
        *RECORDS,
        *(path for case in CASES for path in plan_for(str(case)).run_records),
        *(case.shipped for case in CASES),
        *expand(rules.train_model.output, mode=CONFIG.training.modes),
        *ROOFLINE,
        *(TABLE_FILES if USES_TABLE else []),
        *(OPERATOR_FILES if USES_OPERATORS else []),
        *of_profiles(rules.profile_case),
        *machines(wildcards),
    ]
    return [path for path in between if not os.path.exists(path)]


def check_wildcards(wildcards):
    """Refuse a model, mode, run or study that the configuration does not have."""
    if "run" in wildcards.keys():
        directory_of(wildcards.run)
    elif "a" in wildcards.keys():
        directory_of(wildcards.a)
        directory_of(wildcards.b)
    elif "case" in wildcards.keys() or "mode" in wildcards.keys():
        case = plan(wildcards).case
        check_own_code({case.model}, {case.mode})


def check_target(name):
    """Refuse a file about something that the configuration does not have; ignore other words."""
    if name.startswith(("results/", "reports/")) and not os.path.exists(name):
        check_maker(name)
    for maker in workflow.rules:
        if maker.is_producer(name):
            check_wildcards(Wildcards(fromdict=maker.get_wildcards(name)))
            if maker.name == "compare_runs":
                base_records(None)
    for study, cases in STUDIED.items():
        if name in (f"results/studies/{study}.json", f"results/plots/study-{study}.svg"):
            if not cases:
                raise ValueError(f"{name}: studies.{study} lists no case, so there is no result")


def check_maker(name):
    """Refuse a target below results/ or reports/ that no rule makes, and say which was meant."""
    if any(maker.is_producer(name) for maker in workflow.rules):
        return
    # What follows an option may be its value: Snakemake's own parser knows.
    if name not in map(os.path.normpath, command_line().targets):
        return
    fixed = [path for maker in workflow.rules for path in maker.output if "{" not in path]
    like = nearest(name, [*fixed, *RECORDS, *METRICS, *STUDIES, *STUDY_PLOTS])
    hint = f"did you mean {like}? " if like else ""
    raise ValueError(f"{name}: no rule makes this file; {hint}results/README.md lists what is made")


def check_options(words):
    """Refuse a second --configfile, because Snakemake would silently forget the first."""
    if sum(word.partition("=")[0] in ("--configfile", "--configfiles") for word in words) > 1:
        raise ValueError(
            "--configfile is given more than once, and only the last would count; one takes several"
            " files: --configfile a.yaml b.yaml"
        )


# Snakemake's targets are known only later; here any word of the command line may be one.
if workflow.is_main_process:
    try:
        check_options(sys.argv)
        for word in sys.argv[1:]:
            check_target(os.path.normpath(word))
        if CONFIG.base is not None:
            base_records(None)
    except ValueError as error:
        refuse(error)
