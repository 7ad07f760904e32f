"""Run the cases of a study; write results/studies/."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.planning.cases import within_limits
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.writing import write_atomically
from torchmodes.studies.catalogue import STUDIES
from torchmodes.studies.jobs import CaseRunner

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    runner = CaseRunner(
        threads=snakemake.threads,
        table=list(snakemake.input.get("table", [])),
        operators=next(iter(snakemake.input.get("operators", [])), None),
        log=Path(snakemake.log[0]),
    )
    cases = [within_limits(case, snakemake.params.limits) for case in snakemake.params.cases]
    result = STUDIES[snakemake.wildcards["study"]].study(cases, runner)
    write_atomically(Path(snakemake.output[0]), result.model_dump_json(indent=1) + "\n")
