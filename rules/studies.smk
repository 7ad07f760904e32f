rule study_compile_cost:
    """What a second start costs when the first one has filled the compile caches."""
    input:
        **study("compile_cost").inputs,
    output:
        "results/studies/compile_cost.json",
    log:
        "logs/studies/compile_cost.log",
    conda:
        conda_of(study("compile_cost"))
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("compile_cost", processes=2),
        gpu=lambda wildcards: study("compile_cost").gpus,
    params:
        cases=[each.unsampled_parameters for each in study("compile_cost").plans],
        limits=limits_of,
        code=study("compile_cost").code("scripts/study_compile_cost.py", "torchmodes.measure.case"),
        software=study("compile_cost").software,
    script:
        "../scripts/study_compile_cost.py"


rule study_dynamic_shapes:
    """What a compiled model does when the batch size changes under it."""
    input:
        **study("dynamic_shapes").inputs,
    output:
        "results/studies/dynamic_shapes.json",
    log:
        "logs/studies/dynamic_shapes.log",
    conda:
        conda_of(study("dynamic_shapes"))
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("dynamic_shapes", processes=8),
        gpu=lambda wildcards: study("dynamic_shapes").gpus,
    params:
        cases=[each.unsampled_parameters for each in study("dynamic_shapes").plans],
        limits=limits_of,
        code=study("dynamic_shapes").code(
            "scripts/study_dynamic_shapes.py", "torchmodes.studies.shapes_job"
        ),
        software=study("dynamic_shapes").software,
    script:
        "../scripts/study_dynamic_shapes.py"


rule study_thread_scaling:
    """What each further thread brings."""
    input:
        **study("thread_scaling").inputs,
    output:
        "results/studies/thread_scaling.json",
    log:
        "logs/studies/thread_scaling.log",
    conda:
        conda_of(study("thread_scaling"))
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes("thread_scaling", processes=1),
        gpu=lambda wildcards: study("thread_scaling").gpus,
    params:
        cases=[each.parameters for each in study("thread_scaling").plans],
        limits=limits_of,
        code=study("thread_scaling").code(
            "scripts/study_thread_scaling.py", "torchmodes.studies.threads_job"
        ),
        software=study("thread_scaling").software,
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
