rule study_compile_cost:
    """What a second start costs when the first one has filled the compile caches."""
    input:
        table=study_table("compile_cost"),
        operators=study_operators("compile_cost"),
    output:
        "results/studies/compile_cost.json",
    log:
        "logs/studies/compile_cost.log",
    conda:
        study_conda("compile_cost")
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("compile_cost", processes=2),
        gpu=study_gpus("compile_cost"),
    params:
        cases=job_inputs("compile_cost"),
        limits=limits_of,
        code=study_code("compile_cost", "torchmodes.measure.case"),
        software=study_software("compile_cost"),
    script:
        "../scripts/study_compile_cost.py"


rule study_dynamic_shapes:
    """What a compiled model does when the batch size changes under it."""
    input:
        table=study_table("dynamic_shapes"),
        operators=study_operators("dynamic_shapes"),
    output:
        "results/studies/dynamic_shapes.json",
    log:
        "logs/studies/dynamic_shapes.log",
    conda:
        study_conda("dynamic_shapes")
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("dynamic_shapes", processes=8),
        gpu=study_gpus("dynamic_shapes"),
    params:
        cases=job_inputs("dynamic_shapes"),
        limits=limits_of,
        code=study_code("dynamic_shapes", "torchmodes.studies.shapes_job"),
        software=study_software("dynamic_shapes"),
    script:
        "../scripts/study_dynamic_shapes.py"


rule study_thread_scaling:
    """What each further thread brings."""
    input:
        table=study_table("thread_scaling"),
        operators=study_operators("thread_scaling"),
    output:
        "results/studies/thread_scaling.json",
    log:
        "logs/studies/thread_scaling.log",
    conda:
        study_conda("thread_scaling")
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("thread_scaling", processes=1),
        gpu=study_gpus("thread_scaling"),
    params:
        cases=[case_parameters(CONFIG, case) for case in studied("thread_scaling")],
        limits=limits_of,
        code=study_code("thread_scaling", "torchmodes.studies.threads_job"),
        software=study_software("thread_scaling"),
    script:
        "../scripts/study_thread_scaling.py"


rule study_inference_context:
    """What grad mode and no_grad cost beside inference_mode."""
    input:
        [case.record for case in STUDIED["inference_context"]],
    output:
        "results/studies/inference_context.json",
    log:
        "logs/studies/inference_context.log",
    conda:
        "../envs/data.yaml"
    params:
        contexts={
            case.mode: CONFIG.modes[case.mode].context for case in STUDIED["inference_context"]
        },
        code=code_digest("scripts/study_inference_context.py"),
    script:
        "../scripts/study_inference_context.py"


rule study_batch_scaling:
    """Latency and throughput against batch size."""
    input:
        [case.record for case in STUDIED["batch_scaling"]],
    output:
        "results/studies/batch_scaling.json",
    log:
        "logs/studies/batch_scaling.log",
    conda:
        "../envs/data.yaml"
    params:
        code=code_digest("scripts/study_batch_scaling.py"),
    script:
        "../scripts/study_batch_scaling.py"


rule draw_study:
    """What a study found, as a figure."""
    input:
        "results/studies/{study}.json",
    output:
        report(
            "results/plots/study-{study}.svg",
            category="Studies",
            labels={"figure": "{study}"},
            caption="captions/study.rst",
        ),
    log:
        "logs/report/draw_study-{study}.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/draw_study.py"),
    script:
        "../scripts/draw_study.py"
