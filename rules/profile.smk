rule profile_case:
    """A few steps of one case under torch.profiler; never inside a timed measurement."""
    input:
        table=table_of,
        operators=operators_of,
    output:
        trace="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/trace.json.gz",
        overview="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/overview.json",
        operators="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/operators.csv",
        kernels="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/kernels.csv",
        layers="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/layers.csv",
        memory="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/memory.csv",
        python="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/python.csv",
        internals=directory(
            "results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/internals"
        ),
        summary="results/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}/summary.json",
    log:
        "logs/profile/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}.log",
    conda:
        "../envs/torch.yaml"
    threads: MEASURED_THREADS
    resources:
        mem_mb=4000,
        runtime=MINUTES,
        gpu=gpus_of,
    params:
        case=job_parameters_of,
        profile=CONFIG.profile.model_dump(exclude={"cases"}),
        code=code_of("scripts/profile_case.py", "torchmodes.profiling.trace"),
        software=software_of,
    script:
        "../scripts/profile_case.py"


rule publish_trace:
    """The trace again, where `tensorboard --logdir results/tensorboard` looks for it."""
    input:
        profile_of,
    output:
        "results/tensorboard/{run}/torchmodes.pt.trace.json.gz",
    log:
        "logs/tensorboard/{run}.log",
    conda:
        "../envs/data.yaml"
    shell:
        "cp {input} {output} 2> {log}"
