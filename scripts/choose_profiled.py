"""Choose what is profiled of what was measured."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.chosen_profiles import choose_profiles
from torchmodes.report.loading import load_report_data
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = load_report_data([Path(path) for path in snakemake.input])
    chosen = choose_profiles(data.cases, runner_up=snakemake.params.runner_up)
    write_atomically(Path(snakemake.output[0]), chosen.model_dump_json(indent=1) + "\n")
