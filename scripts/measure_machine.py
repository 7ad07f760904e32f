"""Measure what this machine reaches at the most: matrix products and memory."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.config.run import Measurement
from torchmodes.processes.joblog import job_log
from torchmodes.processes.jobs import run_process
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    found, _ = run_process(
        "torchmodes.machine.peaks:measure_machine",
        {"device": snakemake.wildcards["device"], "threads": snakemake.threads},
        limits=Measurement.model_construct(start=snakemake.params.start, **snakemake.params.limits),
        threads=snakemake.threads,
        log=Path(snakemake.log[0]),
    )
    write_atomically(Path(snakemake.output[0]), json.dumps(found, indent=1) + "\n")
