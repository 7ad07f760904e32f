rule benchmark_case:
    """One case against its baseline, alone on the machine."""
    input:
        unpack(lambda wildcards: plan(wildcards).benchmark_inputs),
    output:
        "results/benchmark/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}.json",
    log:
        "logs/benchmark/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}.log",
    # First: training and profiles reuse what these jobs compile.
    priority: 10
    conda:
        lambda wildcards: conda_of(plan(wildcards))
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=MINUTES,
        gpu=lambda wildcards: plan(wildcards).gpus,
    params:
        case=lambda wildcards: plan(wildcards).parameters,
        limits=limits_of,
        code=lambda wildcards: plan(wildcards).code(
            "scripts/benchmark_case.py", "torchmodes.measure.case"
        ),
        software=lambda wildcards: plan(wildcards).software,
    script:
        "../scripts/benchmark_case.py"
