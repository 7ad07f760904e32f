rule profile_case:
    """A few steps of one case under torch.profiler; never inside a timed measurement."""
    input:
        unpack(profile_inputs_of),
    output:
        trace="results/profile/{case}/trace.json.gz",
        overview="results/profile/{case}/overview.json",
        operators="results/profile/{case}/operators.csv",
        kernels="results/profile/{case}/kernels.csv",
        fused="results/profile/{case}/fused.csv",
        layers="results/profile/{case}/layers.csv",
        memory="results/profile/{case}/memory.csv",
        python="results/profile/{case}/python.csv",
        timeline="results/profile/{case}/timeline.csv",
        stacks="results/profile/{case}/stacks.speedscope.json",
        internals=directory("results/profile/{case}/internals"),
        summary="results/profile/{case}/summary.json",
    log:
        "logs/profile/{case}.log",
    priority: 5
    conda:
        lambda wildcards: conda_of(plan(wildcards))
    threads: MEASURED_THREADS
    resources:
        # Alone, as when measuring: profiles taken side by side would disturb each other.
        machine=100,
        mem_mb=6000,
        runtime=MINUTES,
        gpu=lambda wildcards: plan(wildcards).gpus,
    params:
        case=lambda wildcards: plan(wildcards).unsampled_parameters,
        limits=limits_of,
        profile=schedule_of,
        code=lambda wildcards: plan(wildcards).code(
            "scripts/profile_case.py", "torchmodes.profiling.trace"
        ),
        software=lambda wildcards: plan(wildcards).software,
    script:
        "../scripts/profile_case.py"


checkpoint choose_profiled:
    """The cases that `profile.picks` asks for: eager and the mode to ship of each measured group."""
    input:
        records,
    output:
        CHOSEN,
    log:
        "logs/profile/choose_profiled.log",
    conda:
        "../envs/report.yaml"
    params:
        runner_up=CONFIG.profile.runner_up,
        code=code_digest("scripts/choose_profiled.py"),
    script:
        "../scripts/choose_profiled.py"


rule publish_trace:
    """A copy of the trace where `tensorboard --logdir results/tensorboard` looks for it."""
    input:
        profile_of,
    output:
        "results/tensorboard/{run}/torchmodes.pt.trace.json.gz",
    log:
        "logs/tensorboard/{run}.log",
    conda:
        "../envs/data.yaml"
    shell:
        "cp {input} {output} 2> {log}"


rule diff_profiles:
    """What changed from one profiled case to another; any two, by the names of their runs."""
    input:
        a=lambda wildcards: f"{directory_of(wildcards.a)}/summary.json",
        b=lambda wildcards: f"{directory_of(wildcards.b)}/summary.json",
    output:
        "results/profile/diff/{a}--vs--{b}.json",
    log:
        "logs/profile/diff/{a}--vs--{b}.log",
    conda:
        "../envs/data.yaml"
    params:
        code=code_digest("scripts/diff_profiles.py"),
    script:
        "../scripts/diff_profiles.py"


rule measure_machine:
    """The peaks of a device; measured again when machine or software have changed."""
    output:
        "results/machine/{device}.json",
    log:
        "logs/machine/{device}.log",
    priority: 5
    conda:
        "../envs/torch.yaml"
    threads: MEASURED_THREADS
    resources:
        machine=100,
        mem_mb=6000,
        runtime=MINUTES,
        gpu=lambda wildcards: 1 if wildcards.device == "cuda" else None,
    params:
        start=CONFIG.measurement.start,
        limits=limits_of,
        code=code_digest("scripts/measure_machine.py", "torchmodes.machine.peaks"),
        software=SOFTWARE,
        machine=lambda wildcards: machine_fingerprint(),
    script:
        "../scripts/measure_machine.py"


rule compute_roofline:
    """The roofline: what the profiled cases reach of what the machine allows."""
    input:
        profiles=profiles,
        machines=machines,
        records=profiled_records,
    output:
        "results/roofline.json",
    log:
        "logs/report/compute_roofline.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/compute_roofline.py"),
    script:
        "../scripts/compute_roofline.py"


rule draw_profile:
    """The figures of one profile."""
    input:
        summary="results/profile/{case}/summary.json",
    output:
        **{
            figure.name: report(
                f"results/profile/{{case}}/{figure.name}.svg",
                category=figure.category,
                subcategory=figure.subcategory,
                labels=lambda wildcards, title=figure.title: label_of(title, wildcards),
                caption=f"captions/{figure.name}.rst",
            )
            for figure in figures_of("profiles")
            if figure.of == "profile"
        },
    log:
        "logs/profile/draw_profile/{case}.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/draw_profile.py", *figure_modules()),
    script:
        "../scripts/draw_profile.py"


rule draw_profiles:
    """Figures of all profiles together."""
    input:
        profiles=profiles,
        roofline="results/roofline.json",
        records=profiled_records,
    output:
        **{
            figure.name: report(
                f"results/plots/{figure.name}.svg",
                category=figure.category,
                subcategory=figure.subcategory,
                labels={"figure": figure.title},
                caption=f"captions/{figure.name}.rst",
            )
            for figure in figures_of("profiles")
            if figure.of == "run"
        },
    log:
        "logs/report/draw_profiles.log",
    conda:
        "../envs/report.yaml"
    params:
        code=code_digest("scripts/draw_profiles.py", *figure_modules()),
    script:
        "../scripts/draw_profiles.py"
