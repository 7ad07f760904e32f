"""What others take of a machine: from counters to a load, and from a load to no verdict."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from torchmodes.machine.cgroup import Quota, cpu_quotas
from torchmodes.measure.assess import assess
from torchmodes.measure.load import (
    Counters,
    Load,
    family_seconds,
    load_between,
    look,
    parse_stat,
    read_counters,
)
from torchmodes.measure.sampler import Sampling
from torchmodes.planning.cases import parse_case
from torchmodes.results.records import Block, Execution, Measured, Samples, Warmup

QUIET = Load(own=2.0, others=0.03, stolen=0.02, cores=2)
STAT = """\
cpu  1000 200 300 9000 50 10 20 40 600 100
cpu0 700 100 200 4000 25 5 10 30 600 100
cpu1 300 100 100 5000 25 5 10 10 0 0
intr 123
"""


def counters(
    at_s: float, *, own_s: float, busy_s: float, stolen_s: float = 0.0, **quotas: Quota
) -> Counters:
    return Counters(at_s, own_s, busy_s, stolen_s, 2, quotas)


# --- From counters to a load -----------------------------------------------------------------


def test_others_are_what_was_busy_less_what_was_ones_own() -> None:
    before = counters(10.0, own_s=5.0, busy_s=100.0, stolen_s=1.0)
    after = counters(14.0, own_s=9.0, busy_s=108.0, stolen_s=1.4)
    load = load_between(before, after)
    assert (load.own, load.others) == (1.0, 1.0)
    assert load.stolen == pytest.approx(0.1)
    assert load.cores == 2


def test_counters_that_disagree_by_a_tick_are_no_negative_load() -> None:
    load = load_between(counters(0, own_s=0, busy_s=0), counters(1, own_s=1.02, busy_s=1.0))
    assert load.others == 0


def test_a_guests_time_is_counted_once_and_waiting_for_a_disk_is_idle() -> None:
    """Of proc(5)'s fields `user` and `nice` hold the guests' time already."""
    assert parse_stat(STAT, [0, 1], ticks_per_s=100) == (
        (1000 + 200 + 300 + 10 + 20) / 100,
        40 / 100,
    )


def test_only_the_cores_that_a_process_may_use_are_looked_at() -> None:
    assert parse_stat(STAT, [1], ticks_per_s=100) == (5.15, 0.1)


def test_a_container_that_numbers_its_cores_anew_shows_only_those() -> None:
    assert parse_stat(STAT, [6, 7], ticks_per_s=100) == parse_stat(STAT, [0, 1], ticks_per_s=100)


def test_within_a_quota_the_group_is_what_is_short_not_the_host() -> None:
    """30 of a host's 64 cores are busy with others, and one of the two that this group has."""

    def at(at_s: float) -> Counters:
        quotas = {"/group": Quota(cores=2.0, used_s=2.0 * at_s)}
        return Counters(at_s, own_s=at_s, busy_s=31 * at_s, stolen_s=0, cores=64, quotas=quotas)

    load = load_between(at(0.0), at(5.0))
    assert (load.own, load.others, load.cores) == (1.0, 1.0, 2.0)
    assert load.crowded(threads=2)
    assert str(load) == "other programs kept 1.0 of 2 cores busy"


def test_the_usage_of_limited_groups_is_read_in_both_versions(tmp_path: Path) -> None:
    for name, text in {
        "a/cpu.max": "150000 100000",
        "a/cpu.stat": "usage_usec 2500000\nuser_usec 1",
        "cpu.max": "max 100000",
        "cpu/b/cpu.cfs_quota_us": "50000",
        "cpu/b/cpu.cfs_period_us": "100000",
        "cpu/b/cpuacct.usage": "7000000000",
        "membership": "0::/a\n2:cpu,cpuacct:/b\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quotas(tmp_path / "membership", tmp_path) == {
        str(tmp_path / "a"): Quota(1.5, 2.5),
        str(tmp_path / "cpu/b"): Quota(0.5, 7.0),
    }


# --- Whether it fitted -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "threads", "missing"),
    [
        (QUIET, 2, 0.05),
        (Load(own=1.0, others=1.0, stolen=0.0, cores=2), 1, 0.0),  # there is room for both
        (Load(own=1.0, others=1.0, stolen=0.0, cores=2), 2, 1.0),
        (Load(own=1.4, others=0.6, stolen=0.0, cores=2), 1, 0.6),  # it had use for two
        (Load(own=8.0, others=3.0, stolen=0.0, cores=16), 8, 0.0),
        (Load(own=1.0, others=0.0, stolen=0.3, cores=2), 1, 0.3),  # idle cores do not help
        (Load(own=2.0, others=0.0, stolen=0.0, cores=1), 4, 0.0),  # more threads than cores
    ],
)
def test_what_is_missing_is_what_others_took_of_cores_that_had_use(
    load: Load, threads: int, missing: float
) -> None:
    assert load.missing(threads) == pytest.approx(missing)
    assert load.crowded(threads) is (missing > 0.1)


def test_a_large_machine_may_have_more_daemons() -> None:
    assert not Load(own=63.5, others=0.5, stolen=0.0, cores=64).crowded(threads=64)
    assert Load(own=7.5, others=0.5, stolen=0.0, cores=8).crowded(threads=8)


def test_disturbed_below_the_limit_the_trimmed_mean_holds_and_above_it_does_not() -> None:
    """The limit's reason: samples of one side alone, hit ten times their length at random."""

    def centre(disturbed: float) -> float:
        rng = np.random.default_rng(1)
        hit = rng.random((4000, 2)) < disturbed
        ratios = np.where(hit, np.log(10), 0).mean(axis=1) + rng.normal(0, 0.02, 4000)
        return float(np.sort(ratios)[800:3200].mean())

    assert abs(centre(0.1)) < 0.02
    assert centre(0.2) > 0.2


# --- From a load to no verdict ---------------------------------------------------------------


def judged(
    load: Load,
    *,
    threads: int = 2,
    slow_share: float = 0.0,
    blocks: int = 200,
    device: str = "cpu",
) -> Measured:
    """Assess a candidate that is twice as fast, beside a load or samples at two speeds."""
    rng = np.random.default_rng(5)
    taken = []
    for index in range(blocks):
        eager, fast = 2e-3 * rng.lognormal(sigma=0.02, size=2)
        eager *= 100 if rng.random() < slow_share else 1
        seconds = (eager, fast / 2, fast / 2, eager)
        taken.append(Block(order="ABBA", seconds=seconds, at_s=index * 0.01))
    sampling = Sampling(
        samples=Samples(clock="made up", calls_per_sample=1, blocks=taken),
        warmup=Warmup(calls=20, seconds=0.1, steady=True),
        converged=True,
        run=Execution(sampling_s=2.0, bookkeeping_share=0.1),
    )
    case = parse_case(f"inference/{device}/m/fast/fp32-b1")
    return assess(case, sampling, minimum_effect=0.01, extra_s=0.0, load=load, threads=threads)


def test_a_quiet_machine_gives_a_verdict_and_no_warning() -> None:
    result = judged(QUIET)
    assert (result.verdict, result.no_verdict, result.warnings) == ("faster", None, [])


def test_beside_another_program_there_is_no_verdict_but_a_reason_and_a_remedy() -> None:
    result = judged(Load(own=1.0, others=1.0, stolen=0.0, cores=2))
    assert result.verdict == "unresolved"
    assert result.no_verdict == (
        "other programs kept 1.0 of 2 cores busy while this was measured with 2 threads"
    )
    assert result.remedy == (
        "stop them, or ask for fewer cores (--cores 1);"
        " then delete its folder in results/runs and run snakemake again"
    )
    (warning,) = result.warnings
    assert warning.endswith("kept 1.0 of 2 cores busy, more than there was room for")
    assert result.cost.cores_missing == 1.0


def test_with_room_for_both_the_verdict_stands_and_the_neighbour_is_told() -> None:
    result = judged(Load(own=1.0, others=1.0, stolen=0.0, cores=2), threads=1)
    assert result.verdict == "faster"
    (warning,) = result.warnings
    assert "other programs kept 1.0 of 2 cores busy, beside the case's own threads" in warning


def test_threads_of_a_case_on_a_gpu_wait_and_need_no_core() -> None:
    beside = Load(own=1.0, others=6.0, stolen=0.0, cores=8)
    assert judged(beside, threads=8, device="cuda").verdict == "faster"
    assert judged(beside, threads=8).verdict == "unresolved"


def test_what_the_hypervisor_takes_is_told_as_that() -> None:
    result = judged(Load(own=1.6, others=0.0, stolen=0.4, cores=2))
    assert result.verdict == "unresolved"
    assert result.no_verdict.startswith("the hypervisor took 0.4 of 2 cores away")
    assert result.remedy.startswith("use a machine whose cores are not shared")


def test_a_baseline_at_two_speeds_gives_no_verdict_though_no_load_is_seen() -> None:
    result = judged(QUIET, slow_share=0.9)
    assert result.verdict == "unresolved"
    assert result.no_verdict.startswith("eager's typical call took ")
    assert any(warning.startswith("two speeds: ") for warning in result.warnings)


def test_an_interval_that_says_nothing_gives_no_verdict() -> None:
    result = judged(QUIET, slow_share=0.4, blocks=30)
    speed_up = result.statistics.speed_up
    assert speed_up.low > 1.1, "all of it is beyond the margin"
    assert speed_up.high > 4 * speed_up.low
    assert result.verdict == "unresolved"
    assert result.statistics.p_value == 1.0
    assert result.no_verdict == "the samples are too noisy to say anything"


# --- This machine ----------------------------------------------------------------------------


def burn(seconds: float) -> str:
    """Return a program that takes so many seconds of processor time, however long they last."""
    return f"import time\nwhile time.process_time() < {seconds}: pass"


@pytest.fixture
def neighbour() -> Iterator[None]:
    """A program that keeps a core busy, started by somebody else."""
    process = subprocess.Popen([sys.executable, "-c", burn(30)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


@pytest.mark.usefixtures("neighbour")
def test_a_neighbour_is_seen() -> None:
    """It is this process's child, so the look is at a process that did not start it."""
    idle = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        load = look(idle.pid, seconds=2.0)
    finally:
        idle.communicate(b"\n")
    assert load.others + load.stolen >= 0.5


def test_what_a_process_starts_is_its_own_while_it_runs_and_after_it_ended() -> None:
    before = read_counters()
    began_s = family_seconds(os.getpid())
    subprocess.run([sys.executable, "-c", burn(0.5)], check=True)
    running = subprocess.Popen([sys.executable, "-c", burn(30)])
    try:
        time.sleep(1.0)
        used_s = family_seconds(os.getpid()) - began_s
        load = load_between(before, read_counters())
    finally:
        running.kill()
        running.wait()
    # Both are waited for now: nothing that was counted may be lost, and nothing counted twice.
    assert used_s - 0.1 <= family_seconds(os.getpid()) - began_s <= used_s + 2.0
    assert used_s > 0.45
    assert load.own > 0


def test_a_little_of_both_is_told_with_figures_that_are_not_none() -> None:
    told = str(Load(own=1.9, others=0.06, stolen=0.05, cores=2))
    assert told == (
        "other programs kept 0.06 of 2 cores busy and the hypervisor took 0.05 of 2 cores away"
    )
