# All first runs, then all second runs: so the runs of a case are spread over the whole workflow.
for number in range(1, max(CONFIG.measurement.runs, FURTHER.most()) + 1):

    rule:
        name:
            "benchmark_case" if number == 1 else f"benchmark_case_{number}"
        input:
            unpack(lambda wildcards, number=number: plan(wildcards).run_inputs(number)),
        output:
            f"results/runs/{{case}}/{number}.json",
            # What a deployment ships: the first run makes it, the others load it.
            *([directory("results/shipped/{case}")] if number == 1 else []),
        log:
            f"logs/runs/{{case}}/{number}.log",
        # Before other jobs: training and profiles reuse what these jobs compile.
        priority: 1000 - number
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


rule join_runs:
    """The record of a case: all its runs, with the interval over them."""
    input:
        lambda wildcards: plan(wildcards).run_records,
    output:
        "results/benchmark/{case}.json",
    log:
        "logs/benchmark/{case}.log",
    conda:
        "../envs/data.yaml"
    params:
        looks=lambda wildcards: len(plan(wildcards).further),
        code=code_digest("scripts/join_runs.py"),
    script:
        "../scripts/join_runs.py"
