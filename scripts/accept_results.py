"""Fail when a case failed or came out wrong; runs only with `strict: true`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.processes.joblog import job_log
from torchmodes.report.loading import load_report_data
from torchmodes.report.problems import bad, problems
from torchmodes.results.writing import write_atomically

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    data = load_report_data(
        [Path(path) for path in snakemake.input.records],
        [Path(path) for path in snakemake.input.metrics],
    )
    if found := bad(problems(data)):
        lines = [f"{one.case}  {one.kind}: {one.reason}" for one in found]
        sys.exit("Error: strict is true, and not everything succeeded:\n  " + "\n  ".join(lines))
    write_atomically(Path(snakemake.output[0]), json.dumps({"cases": len(data.cases)}) + "\n")
