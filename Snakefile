# torchmodes: which PyTorch execution mode should you ship?
#
#   snakemake --cores 4                                   everything in config.yaml
#   snakemake --cores 4 reports/report.html               one file, and what it needs
#   snakemake --cores 4 --configfile config/smoke.yaml    the whole pipeline, tiny
import sys
from pathlib import Path

from snakemake.utils import min_version

from torchmodes.config.files import read_file, refuse_results

min_version("9.0")


# With snakemake -s path/of/Snakefile, a config.yaml in the current directory comes first.
CONFIG_FILE = Path("config.yaml")
if not CONFIG_FILE.exists():
    CONFIG_FILE = Path(workflow.basedir, CONFIG_FILE)
try:
    read_file(CONFIG_FILE)
    refuse_results(workflow.overwrite_configfiles)
except ValueError as error:
    sys.exit(f"Error: {error}")


configfile: CONFIG_FILE


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/wildcards.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/benchmark.smk"
include: "rules/profile.smk"
include: "rules/studies.smk"
include: "rules/report.smk"
include: "rules/targets.smk"


# The final results, and those of their inputs that somebody deleted.
rule all:
    default_target: True
    input:
        rules.write_report.output,
        rules.summarize_records.output,
        rules.draw_plots.output,
        rules.draw_profiles.output if ROOFLINE else [],
        profile_figures,
        traces,
        diffs,
        STUDIES,
        STUDY_PLOTS,
        rules.accept_results.output if CONFIG.strict else [],
        rules.compare_runs.output if CONFIG.base else [],
        missing_files,


onstart:
    check_folders()


onsuccess:
    print_summary()


onerror:
    tell(
        "Not every job was done: the same command does the rest. Until then results may be of an"
        " earlier run."
    )
    print_summary()
