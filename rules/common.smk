# The configuration, checked, and the result files that it asks for.
import gc
import math
import os
import shlex
import sys
from pathlib import Path

from snakemake.cli import get_argument_parser
from snakemake.exceptions import WorkflowError

from torchmodes.processes.machine_lock import lock_fault
from torchmodes.planning.cases import CASE_PATTERN, TABLE, expand_grids, pair_modes
from torchmodes.config import parse_config
from torchmodes.config.layers import only_named
from torchmodes.config.run import SYNTHETIC
from torchmodes.machine.devices import find_device, usable_cores
from torchmodes.config.files import read_file
from torchmodes.config.faults import InvalidConfig
from torchmodes.profiling.machine import machine_fingerprint
from torchmodes.planning.plan import BASE_PACKAGES
from torchmodes.planning.texts import texts_faults
from torchmodes.report.figures import figure_modules, figures_of
from torchmodes.planning.provenance import code_digest, compilers, installed
from torchmodes.processes.supervise import START_LIMIT_S
from torchmodes.processes.workflow import name_workflow
from torchmodes.workloads.training.check import check_data
from torchmodes.planning.user_code import reference_faults
from torchmodes.studies.catalogue import STUDIES as STUDY_ENTRIES
from torchmodes.results.chosen import ChosenProfiles, read_chosen
from torchmodes.results.further_runs import read_further_runs
from torchmodes.results.reading import CorruptFile
from torchmodes.results.writing import print_anything, require_writable, tell

# Planning makes millions of objects that live on: collecting garbage less often makes it faster.
gc.set_threshold(50_000, 50, 50)

# Snakemake does not quote the interpreter's path when it starts a script: this allows a space in it.
if Path(sys.executable).exists():
    sys.executable = shlex.quote(sys.executable)


name_workflow()


def refuse(message):
    """End before anything runs with one sentence; to an exception Snakemake adds its place."""
    sys.exit(f"Error: {message}")


LAYERS = [*map(read_file, workflow.overwrite_configfiles), workflow.config_settings.config]
try:
    CONFIG = parse_config(only_named(config, LAYERS), files=workflow.configfiles)
except InvalidConfig as error:
    refuse(error)

# A faulty file of the user's is reported before anything runs, not later by a job. Each job starts
# Snakemake again, and need not check the file again.
if workflow.is_main_process:
    try:
        check_data(CONFIG)
    except (ValueError, OSError) as error:
        refuse(error)

AUTO_DEVICE = find_device()
STUDIED = {
    study: expand_grids(getattr(CONFIG.studies, study), auto=AUTO_DEVICE)
    for study in type(CONFIG.studies).model_fields
}
# Studies made of records share their cases with the benchmark.
CASES = sorted(
    {
        *expand_grids(CONFIG.benchmark, auto=AUTO_DEVICE),
        *(
            case
            for name, cases in STUDIED.items()
            if not STUDY_ENTRIES[name].child
            for case in cases
        ),
    }
)
PROFILED = expand_grids(CONFIG.profile.cases, auto=AUTO_DEVICE)
# Which cases are picked is known once all are measured; until then it may be any of them.
PICKS = CONFIG.profile.picks
CHOSEN = "results/profile/chosen.json"
RUNS = {case.run: case for case in ({*PROFILED, *CASES} if PICKS else PROFILED)}

USED = {*CASES, *PROFILED, *(case for cases in STUDIED.values() for case in cases)}


def check_own_code(used_models, used_modes):
    """Refuse models and modes in use whose functions or texts the user's own files do not have."""
    sections = {f"models.{name}": CONFIG.models[name].model_dump() for name in sorted(used_models)}
    sections |= {
        f"models.{name}.train": CONFIG.models[name].train.model_dump()
        for name in sorted(used_models)
    }
    sections |= {f"modes.{name}": CONFIG.modes[name].model_dump() for name in sorted(used_modes)}
    texts = texts_faults({name: CONFIG.models[name] for name in sorted(used_models)})
    if faults := reference_faults(sections) + texts:
        raise InvalidConfig(faults)


# Like a faulty table, reported at once instead of by each case that would fail.
if workflow.is_main_process:
    try:
        check_own_code(
            {case.model for case in USED}, {case.mode for case in USED} | {*CONFIG.training.modes}
        )
    except InvalidConfig as error:
        refuse(error)

# With `--sdm apptainer` every job runs in this image, if it was built.
IMAGE = Path(workflow.basedir, "torchmodes.sif")


container: str(IMAGE) if IMAGE.exists() else None


# Measured jobs use the cores that were asked for, but never more than there are. On a cluster no number
# of cores is given (and workflow.cores raises an error): its profile sets each rule's threads.
MEASURED_THREADS = min(workflow.resource_settings.cores or usable_cores(), usable_cores())

# A process is killed at its time limit, and imports have a limit of their own. A cluster's scheduler is
# given their sum and a margin, because there each job starts Snakemake three times.
PROCESS_MINUTES = math.ceil((START_LIMIT_S + CONFIG.measurement.time_limit_s) / 60)
MINUTES = 5 + PROCESS_MINUTES

# Runs that `make sharpen` asked for: they remain part of the workflow from then on.
try:
    FURTHER = read_further_runs()
except CorruptFile as error:
    refuse(error)

# The priority of what cases need: made later, it would leave those cases' runs in a row at the end.
BEFORE_CASES = 10_000

# A newer PyTorch makes every result stale.
SOFTWARE = installed(*BASE_PACKAGES)

OPERATOR_SOURCES = sorted(Path(workflow.basedir, "torchmodes/workloads/operators/source").iterdir())
USES_TABLE = CONFIG.training.modes or any(
    case.task == "training" and CONFIG.models[case.model].reads_table for case in USED
)
USES_OPERATORS = any(
    CONFIG.modes[mode].uses_custom_operators()
    for mode in {*CONFIG.training.modes, *(case.mode for case in USED)}
)
TEMPLATES = sorted(Path(workflow.basedir, "torchmodes/report/templates").iterdir())
# Modules that are chosen by name, which no import statement shows.
PAGE_MODULES = [*figure_modules(), *(entry.page for entry in STUDY_ENTRIES.values())]
MEASURED = frozenset(CASES)
RECORDS = [case.record for case in CASES]
METRICS = [f"results/training/{mode}/metrics.json" for mode in CONFIG.training.modes]
HISTORIES = [f"results/training/{mode}/history.csv" for mode in CONFIG.training.modes]
STUDIES = [f"results/studies/{study}.json" for study, cases in STUDIED.items() if cases]
STUDY_PLOTS = [f"results/plots/study-{Path(study).stem}.svg" for study in STUDIES]
DIFFS = [a.diff(b) for a, b in pair_modes(PROFILED, CONFIG.profile.diffs)]
ROOFLINE = ["results/roofline.json"] if PROFILED or PICKS else []


def check_profile_names(picked):
    """Refuse names of profiles that clash or are too long; `picked` are the cases that may be picked."""
    if clashing := {case.run for case in [*PROFILED, *picked] if RUNS[case.run] != case}:
        refuse(
            "two profiled cases have the same TensorBoard run name; rename a model or a mode: "
            + ", ".join(sorted(clashing))
        )
    names = [Path(path).name for path in DIFFS]
    names += [Path(case.baseline.diff(case)).name for case in picked]
    # File systems allow 255 bytes, and a file that is being written has a longer, temporary name.
    if longest := max((name for name in names if len(name) > 240), default=None):
        raise WorkflowError(
            "the names of the compared profiles make too long a file name; rename a model or a mode: "
            + longest
        )


if workflow.is_main_process:
    check_profile_names(CASES if PICKS else [])


wildcard_constraints:
    case=CASE_PATTERN,
    device="cpu|cuda|mps",
    mode="[^/]+",
    run="[^/]+",
    study="|".join(STUDIED),
    a="[^/]+",
    b="[^/]+",


def check_folders():
    """Report once, not in every job, that results cannot be written or the machine not locked."""
    try:
        require_writable(Path("results"), Path("reports"), Path("logs"))
    except ValueError as error:
        raise WorkflowError(str(error)) from None
    if fault := lock_fault():
        tell(f"Warning: {fault}", to=sys.stderr)


def command_line():
    """Return Snakemake's options and targets as they were typed, without those of a profile."""
    return get_argument_parser().parse_known_args(sys.argv[1:])[0]


def own_arguments():
    """Return what of the command line says which run this is, as one would type it again."""
    given = command_line()
    words = ["--directory", given.directory] if given.directory else []
    for option, values in (("--configfile", given.configfile), ("--config", given.config)):
        words += [option, *values] if values else []
    return shlex.join(map(str, words))


def print_summary():
    """Print how every case came out, once all records are there."""
    records, metrics = map(Path, RECORDS), [Path(path) for path in METRICS]
    if all(map(Path.exists, [*map(Path, RECORDS), *metrics])):
        from torchmodes.report.loading import load_report_data
        from torchmodes.report.terminal import print_summary

        print_anything()
        data = load_report_data([*records], metrics, [], CONFIG.model_dump())
        # Snakemake has changed to --directory; PWD is where its command was given.
        print_summary(data, started_in=Path(os.environ.get("PWD", ".")), arguments=own_arguments())
