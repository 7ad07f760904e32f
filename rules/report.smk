rule summarize_records:
    """One tidy row per case."""
    input:
        RECORDS,
    output:
        csv=report(
            "results/summary.csv",
            category="Results",
            labels={"what": "all cases", "kind": "table"},
            caption="captions/summary.rst",
        ),
        parquet="results/summary.parquet",
    log:
        "logs/report/summarize_records.log",
    params:
        code=code_digest("scripts/summarize_records.py"),
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/summarize_records.py"


rule draw_plot:
    """One figure of the report, as a file."""
    input:
        records=RECORDS,
        metrics=METRICS,
        histories=HISTORIES,
    output:
        report(
            "results/plots/{plot}.svg",
            category="Results",
            labels={"what": "{plot}", "kind": "figure"},
            caption="captions/plot.rst",
        ),
    log:
        "logs/report/draw_plot/{plot}.log",
    params:
        config=CONFIG.model_dump(),
        code=code_digest("scripts/draw_plot.py"),
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/draw_plot.py"


rule write_report:
    """The report: one page to read, one to paste."""
    input:
        records=RECORDS,
        metrics=METRICS,
        histories=HISTORIES,
        profiles=PROFILES,
    output:
        html="reports/report.html",
        markdown="reports/summary.md",
    log:
        "logs/report/write_report.log",
    params:
        config=CONFIG.model_dump(),
        code=code_digest("scripts/write_report.py"),
    conda:
        "../envs/report.yaml"
    script:
        "../scripts/write_report.py"
