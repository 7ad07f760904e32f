# One label per item: Snakemake's report turns a second label with two values into a switch, and fails
# where a combination does not exist.
rule summarize_records:
    """One tidy row per case."""
    input:
        records,
    output:
        csv=report(
            "results/summary.csv",
            category="Speed",
            subcategory="All cases",
            labels={"table": "Every figure of every case"},
            caption="captions/summary.rst",
        ),
        parquet="results/summary.parquet",
    log:
        "logs/report/summarize_records.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/summarize_records.py"),
    script:
        "../scripts/summarize_records.py"


rule draw_plots:
    """The figures of the report, as files."""
    input:
        records=records,
        metrics=METRICS,
        histories=HISTORIES,
    output:
        **{
            figure.name: report(
                f"results/plots/{figure.name}.svg",
                category=figure.category,
                subcategory=figure.subcategory,
                labels={"figure": figure.title},
                caption=f"captions/{figure.name}.rst",
            )
            for figure in figures_of("records", *(["trainings"] if METRICS else []))
        },
    log:
        "logs/report/draw_plots.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/draw_plots.py", *figure_modules()),
    script:
        "../scripts/draw_plots.py"


rule write_report:
    """The report: an HTML page to read, and a Markdown summary to paste."""
    input:
        records=records,
        metrics=METRICS,
        histories=HISTORIES,
        profiles=profiles,
        roofline=ROOFLINE,
        diffs=diffs,
        studies=STUDIES,
        table=[TABLE] if USES_TABLE else [],
    output:
        html="reports/report.html",
        markdown="reports/summary.md",
    log:
        "logs/report/write_report.log",
    conda:
        "../envs/report.yaml"
    params:
        config=CONFIG.about_what_runs().model_dump(),
        code=code_digest("scripts/write_report.py", *PAGE_MODULES, files=TEMPLATES),
    script:
        "../scripts/write_report.py"


rule accept_results:
    """With `strict: true`: fails when a case failed, is wrong or cannot be read."""
    input:
        records=records,
        metrics=METRICS,
    output:
        "results/accepted.json",
    log:
        "logs/report/accept_results.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/accept_results.py"),
    script:
        "../scripts/accept_results.py"


rule compare_runs:
    """This run compared with the one that `base` names."""
    input:
        this=records,
        base=base_records,
    output:
        html="reports/comparison.html",
        markdown="reports/comparison.md",
    log:
        "logs/report/compare_runs.log",
    conda:
        "../envs/report.yaml"
    params:
        base=CONFIG.base,
        code=code_digest("scripts/compare_runs.py", files=TEMPLATES),
    script:
        "../scripts/compare_runs.py"
