rule benchmark_case:
    """One case against its baseline, alone on the machine."""
    input:
        unpack(inputs_of),
    output:
        "results/benchmark/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}.json",
    log:
        "logs/benchmark/{task}/{device}/{model}/{mode}/{precision}-b{batch_size}.log",
    # First: training and profiles reuse what these jobs compile.
    priority: 10
    conda:
        conda_of
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=MINUTES,
        gpu=gpus_of,
    params:
        case=parameters_of,
        limits=limits_of,
        code=code_of("scripts/benchmark_case.py", "torchmodes.measure.case"),
        software=software_of,
    script:
        "../scripts/benchmark_case.py"
