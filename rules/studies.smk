rule study_compile_cost:
    """What a second start costs when the first one has filled the compile caches."""
    input:
        table=TABLE,
        operators=OPERATORS if any(map(needs_operators, COMPILED)) else [],
    output:
        "results/studies/compile_cost.json",
    log:
        "logs/studies/compile_cost.log",
    conda:
        "../envs/torch.yaml"
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=4000,
        runtime=MINUTES,
    params:
        cases=[job_parameters(CONFIG, case) for case in COMPILED],
        code=code_digest(
            "scripts/study_compile_cost.py",
            "torchmodes.measure.case",
            *ENGINES.values(),
            *FAMILIES.values(),
        ),
        software=SOFTWARE,
    script:
        "../scripts/study_compile_cost.py"
