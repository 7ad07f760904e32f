rule build_operators:
    """The custom C++ operators, compiled once."""
    output:
        library="results/operators/torchmodes_ops.so",
        build="results/operators/build.json",
    log:
        "logs/operators/build_operators.log",
    priority: BEFORE_CASES
    conda:
        "../envs/torch.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        # Compilers count, too: without one the library is empty, until one is installed.
        code=code_digest(
            "scripts/build_operators.py",
            "torchmodes.workloads.operators.compile",
            files=OPERATOR_SOURCES,
        ),
        software=SOFTWARE | compilers(os.environ, cuda=True),
    script:
        "../scripts/build_operators.py"


rule train_model:
    """The house-price model, trained in one mode."""
    input:
        unpack(lambda wildcards: plan(wildcards).inputs),
    output:
        metrics="results/training/{mode}/metrics.json",
        history="results/training/{mode}/history.csv",
        model=directory("results/training/{mode}/model"),
    log:
        "logs/training/{mode}.log",
    # Before small jobs, which then run side by side at the end.
    priority: 5
    conda:
        lambda wildcards: conda_of(plan(wildcards))
    threads: MEASURED_THREADS
    resources:
        # Alone, as when measuring: the metrics state rows per second.
        machine=100,
        mem_mb=3000,
        runtime=MINUTES,
        gpu=lambda wildcards: plan(wildcards).gpus,
    params:
        case=lambda wildcards: plan(wildcards).unsampled_parameters,
        limits=limits_of,
        epochs=CONFIG.training.epochs,
        code=lambda wildcards: plan(wildcards).code(
            "scripts/train_model.py", "torchmodes.workloads.training.job"
        ),
        software=lambda wildcards: plan(wildcards).software,
    script:
        "../scripts/train_model.py"
