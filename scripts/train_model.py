"""Train the house-price model in one mode."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torchmodes.machine.environment import describe_environment
from torchmodes.planning.job import Job
from torchmodes.processes.joblog import job_log
from torchmodes.processes.jobs import run_job, shared_compile_cache
from torchmodes.processes.machine_lock import alone_on_machine
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.training.metrics import HISTORY, metrics_of

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

with job_log(snakemake.log[0]), alone_on_machine():
    job = Job.planned(
        snakemake.params.case, snakemake.params.limits, snakemake.input, threads=snakemake.threads
    )
    history, model = Path(snakemake.output.history), Path(snakemake.output.model)
    model.mkdir(parents=True, exist_ok=True)
    history.write_text(",".join(HISTORY) + "\n", encoding="utf-8")
    environment = describe_environment()
    parts, _ = run_job(
        "torchmodes.workloads.training.job:train_model",
        job,
        log=Path(snakemake.log[0]),
        environment=shared_compile_cache(),
        epochs=snakemake.params.epochs,
        history=str(history),
        model=str(model),
    )
    metrics = metrics_of(job.case, parts, model, environment)
    write_atomically(
        Path(snakemake.output.metrics), json.dumps(metrics.model_dump(), indent=1) + "\n"
    )
