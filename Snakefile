# torchmodes: which PyTorch execution mode should you ship?
#
#   snakemake --cores 4                                   everything in config.yaml
#   snakemake --cores 4 reports/report.html               one file, and what it needs
#   snakemake --cores 4 --configfile config/smoke.yaml    the whole of it, tiny
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


# In another directory (snakemake -s path/of/Snakefile) its own config.yaml counts, if it has one.
configfile: "config.yaml" if Path("config.yaml").exists() else f"{workflow.basedir}/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/wildcards.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/benchmark.smk"
include: "rules/profile.smk"
include: "rules/studies.smk"
include: "rules/report.smk"


rule all:
    default_target: True
    input:
        "reports/report.html",
        "reports/summary.md",
        "results/summary.csv",
        TRACES,
        STUDIES,
        STUDY_PLOTS,
        DIFFS,
        rules.draw_plots.output,
        rules.draw_profiles.output if PROFILED else [],
        "results/accepted.json" if CONFIG.strict else [],
        "reports/comparison.html" if CONFIG.base else [],


onstart:
    check_folders()


onsuccess:
    print_summary()


onerror:
    print_summary()
