rule measure_study:
    """A study that runs cases or processes itself."""
    input:
        unpack(lambda wildcards: study_of(wildcards).inputs),
    output:
        "results/studies/{study}.json",
    log:
        "logs/studies/{study}.log",
    wildcard_constraints:
        study="|".join(study for study, entry in STUDY_ENTRIES.items() if entry.child),
    conda:
        lambda wildcards: conda_of(study_of(wildcards))
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=study_minutes,
        gpu=lambda wildcards: study_of(wildcards).gpus,
    params:
        cases=study_cases,
        limits=limits_of,
        code=study_code,
        software=lambda wildcards: study_of(wildcards).software,
    script:
        "../scripts/measure_study.py"


rule derive_study:
    """A study made of the records of its cases."""
    input:
        lambda wildcards: [case.record for case in STUDIED[wildcards.study]],
    output:
        "results/studies/{study}.json",
    log:
        "logs/studies/{study}.log",
    wildcard_constraints:
        study="|".join(study for study, entry in STUDY_ENTRIES.items() if not entry.child),
    conda:
        "../envs/data.yaml"
    params:
        modes=study_modes,
        code=lambda wildcards: code_digest(
            "scripts/derive_study.py", STUDY_ENTRIES[wildcards.study].module
        ),
    script:
        "../scripts/derive_study.py"


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
        code=lambda wildcards: code_digest(
            "scripts/draw_study.py", STUDY_ENTRIES[wildcards.study].page
        ),
    script:
        "../scripts/draw_study.py"
