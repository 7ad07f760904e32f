"""Measure one case against its baseline and write its record."""

from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.measure.benchmark import benchmark_case
from torchmodes.planning.cases import within_limits
from torchmodes.processes.joblog import job_log
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.records import read_record, write_reserved
from torchmodes.results.writing import reserve, tell

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with (
    job_log(snakemake.log[0]),
    alone_on_machine(),
    reserve(Path(snakemake.output[0])) as reservation,
):
    aa = snakemake.input.get("aa")
    record = benchmark_case(
        within_limits(snakemake.params.case, snakemake.params.limits),
        threads=snakemake.threads,
        table=snakemake.input.get("table", []),
        operators=next(iter(snakemake.input.get("operators", [])), None),
        aa=read_record(Path(aa)) if aa else None,
        log=Path(snakemake.log[0]),
        tell=tell,
    )
    tell(write_reserved(record, reservation).in_brief())
