"""Fail when a case failed or came out wrong; runs only with `strict: true`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.joblog import job_log
from torchmodes.records import read_records

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]):
    records = read_records(map(Path, snakemake.input.records), quads=False)
    bad = [record.in_brief() for record in records if record.status in ("failed", "wrong")]
    for path in map(Path, snakemake.input.metrics):
        metrics = json.loads(path.read_text(encoding="utf-8"))
        if metrics["status"] in ("failed", "wrong"):
            bad.append(f"training {metrics['mode']}  {metrics['status']}: {metrics['reason']}")
    if bad:
        sys.exit("Error: strict is true, and not everything succeeded:\n  " + "\n  ".join(bad))
    Path(snakemake.output[0]).write_text(json.dumps({"cases": len(records)}) + "\n")
