# One label an item: Snakemake's report makes a switch of a second one that has two values, and fails
# where not every combination of them exists.
rule summarize_records:
    """One tidy row per case."""
    input:
        RECORDS,
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
        records=RECORDS,
        metrics=METRICS,
        histories=HISTORIES,
    output:
        speed_up=report(
            "results/plots/speed_up.svg",
            category="Speed",
            subcategory="Against eager",
            labels={"figure": "Speed-up over eager"},
            caption="captions/speed_up.rst",
        ),
        heat_map=report(
            "results/plots/heat_map.svg",
            category="Speed",
            subcategory="Against eager",
            labels={"figure": "Modes by models"},
            caption="captions/heat_map.rst",
        ),
        latency=report(
            "results/plots/latency.svg",
            category="Speed",
            subcategory="Absolute times",
            labels={"figure": "Distribution of latencies"},
            caption="captions/latency.rst",
        ),
        batches=report(
            "results/plots/batches.svg",
            category="Speed",
            subcategory="Absolute times",
            labels={"figure": "Latency and throughput against batch size"},
            caption="captions/batches.rst",
        ),
        throughput=report(
            "results/plots/throughput.svg",
            category="Speed",
            subcategory="Absolute times",
            labels={"figure": "Items per second"},
            caption="captions/throughput.rst",
        ),
        cost=report(
            "results/plots/cost.svg",
            category="Cost",
            subcategory="Before the first result",
            labels={"figure": "Cold start and memory"},
            caption="captions/cost.rst",
        ),
        break_even=report(
            "results/plots/break_even.svg",
            category="Cost",
            subcategory="Until it has paid",
            labels={"figure": "Break-even"},
            caption="captions/break_even.rst",
        ),
        losses=(
            report(
                "results/plots/losses.svg",
                category="Numerics",
                subcategory="Training",
                labels={"figure": "Loss curves"},
                caption="captions/losses.rst",
            )
            if METRICS
            else []
        ),
    log:
        "logs/report/draw_plots.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/draw_plots.py"),
    script:
        "../scripts/draw_plots.py"


rule write_report:
    """The report: one page to read, one to paste."""
    input:
        records=RECORDS,
        metrics=METRICS,
        histories=HISTORIES,
        profiles=PROFILES,
        roofline=ROOFLINE,
        diffs=DIFFS,
        studies=STUDIES,
        table=TABLE if USES_TABLE else [],
    output:
        html="reports/report.html",
        markdown="reports/summary.md",
    log:
        "logs/report/write_report.log",
    conda:
        "../envs/report.yaml"
    params:
        config=CONFIG.about_what_runs().model_dump(),
        code=code_digest("scripts/write_report.py", files=TEMPLATES),
    script:
        "../scripts/write_report.py"


rule accept_results:
    """Asked for when `strict` is true: fails when a case failed or came out wrong."""
    input:
        records=RECORDS,
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
    """This run against the one that `base` names."""
    input:
        this=RECORDS,
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
