rule prepare_housing:
    """The table: generated, or the checked columns of the user's CSV file."""
    input:
        [] if CONFIG.data.source == SYNTHETIC else CONFIG.data.source,
    output:
        "results/data/housing.csv",
    log:
        "logs/data/prepare_housing.log",
    priority: BEFORE_CASES
    conda:
        "../envs/data.yaml"
    params:
        data=CONFIG.data.model_dump(),
        seed=CONFIG.seed,
        code=code_digest("scripts/prepare_housing.py"),
    script:
        "../scripts/prepare_housing.py"


rule compute_statistics:
    """Means and standard deviations of the training split, by which every model's inputs are scaled."""
    input:
        "results/data/housing.csv",
    output:
        "results/data/statistics.json",
    log:
        "logs/data/compute_statistics.log",
    priority: BEFORE_CASES
    conda:
        "../envs/data.yaml"
    params:
        data=CONFIG.data.model_dump(),
        seed=CONFIG.seed,
        code=code_digest("scripts/compute_statistics.py"),
    script:
        "../scripts/compute_statistics.py"
