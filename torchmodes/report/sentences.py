"""Every sentence of the report that depends on what was measured.

Words are chosen by verdicts and figures alone: swap the figures of two modes and their sentences
swap. Nothing is said that no record holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torchmodes.profiling.reading import CaseProfile
from torchmodes.report.figures import FigureEntry
from torchmodes.report.formatting import (
    NOTHING,
    call,
    call_range,
    calls,
    deviation,
    digits,
    duration,
    estimate,
    figure,
    listing,
    percent,
    plural,
    points,
    rate,
    ratio,
    ratio_digits,
    ratio_range,
    relative_error,
    signed_figure,
    size,
    speed_up,
    spoken,
    tenths,
)
from torchmodes.report.recommendation import (
    BestCase,
    Group,
    ModeRecommendation,
)
from torchmodes.report.verdicts import Deployment, JudgedRecord

SIGNS = {"faster": "▲", "slower": "▼", "same": "=", "unresolved": "?"}
"""A sign beside each verdict, so that colour is not the only one."""

AS_EXACT = 1.1
"""Times eager's own error, up to which a mode is as exact: the order of a sum changes as much."""

_FEW_DECISIONS = 100
"""Decisions below which a share of them says less than their number."""

_WITHOUT_A_PICK = {
    "eager": "Eager is fine",
    "unresolved": "Keep eager for now",
    "alone": "Nothing to compare eager with",
    "nothing": "No result",
}


def pick(recommendation: ModeRecommendation) -> str:
    """Return what to ship in one group."""
    if recommendation.best is not None:
        return recommendation.best.name
    without = {"unresolved": "eager, for now", "nothing": "no result"}
    return without.get(recommendation.answer, "eager")


def headline(recommendation: ModeRecommendation) -> str:
    """Return the answer for one group in a few words."""
    if recommendation.best is not None:
        return f"Ship {recommendation.best.name}"
    return _WITHOUT_A_PICK[recommendation.answer]


def in_brief(recommendation: ModeRecommendation) -> str:
    """Return the answer for one group and its speed-up."""
    best = recommendation.best
    return headline(recommendation) if best is None else f"{best.name} {speed_up(best.speed_up)}"


def reason(recommendation: ModeRecommendation) -> str:
    """Return why that is the answer, in one or two sentences."""
    group, best = recommendation.group, recommendation.best
    if best is not None:
        return " ".join(filter(None, (_gain(best), ranking(recommendation), evidence(best))))
    match recommendation.answer:
        case "eager":
            return (
                f"No mode is faster by more than the {percent(group.margin)} that count here."
                f" {_each(group.competitors)}"
            )
        case "unresolved":
            settle = "More runs may settle what is open."
            if (doubted := next((c for c in group.competitors if c.no_verdict), None)) is not None:
                settle = _doubt(doubted)
            most = gained_at_most(recommendation)
            shown = "No mode was shown to be faster" + (f": {most}." if most else ".")
            return f"{shown} {_each(group.competitors)} {settle}"
        case "alone":
            return f"Eager ran; {_others(group, 'no other mode was measured')}."
    return f"Of {plural(len(group.cases), 'case')}, {_others(group, 'none ran')}."


def gained_at_most(recommendation: ModeRecommendation) -> str | None:
    """Bound what any mode gains over eager, where none is picked: ``at most 1.14×``."""
    most = recommendation.most_gained
    return None if most is None else f"at most {ratio(max(1.0, most))}"


def evidence(judged: JudgedRecord) -> str:
    """State what the speed-up of a case rests on, beside the number itself."""
    found = judged.statistics
    turns = (
        f"Measured alternately, in {plural(found.blocks, 'block')} of four samples"
        f" in {plural(found.runs, 'process', 'processes')}."
    )
    said = (_side_by_side(judged), turns, _varies(judged), quality(judged))
    return " ".join(filter(None, said))


def _varies(judged: JudgedRecord) -> str | None:
    if judged.levels is not None:
        told = " and ".join(f"{ratio(level)} in {runs}" for level, runs in judged.levels)
        return f"Two levels: {told} processes."
    if judged.varies is None:
        return None
    low, high = judged.varies
    return f"Varies from process to process: {ratio_digits(low)} to {ratio_digits(high)}."


def runner_up(recommendation: ModeRecommendation) -> str | None:
    """Say which mode comes second, and what it saves."""
    best, second = recommendation.best, recommendation.runner_up
    if best is None or second is None:
        return None
    said = f"{second.name}, {speed_up(second.speed_up)}."
    if best.cold_s and second.cold_s is not None and second.cold_s < best.cold_s:
        said += f" It starts in {duration(second.cold_s)} instead of {duration(best.cold_s)}."
    return said


def best_fp32(recommendation: ModeRecommendation) -> str | None:
    """Name the fastest mode in full precision where the answer has another one."""
    if recommendation.best_fp32 is None:
        return None
    return f"{recommendation.best_fp32.name}, {speed_up(recommendation.best_fp32.speed_up)}"


def ranking(recommendation: ModeRecommendation) -> str | None:
    """Say whether the pick is the fastest of its group, or which modes it is not ranked against."""
    best, rivals = recommendation.best, recommendation.rivals
    if best is None or not rivals:
        return None
    if best.statistics.runs < 2:
        return "One process each does not rank the modes: raise measurement.runs."
    if unranked := recommendation.unranked:
        told = [f"{one.rival.name} ({speed_up(one.estimate.ratio)})" for one in unranked]
        return f"Not ranked against {listing(told)}: it may be no faster than that."
    if alike := [one.rival.name for one in rivals if one.verdict == "same"]:
        return f"As fast, within {percent(best.statistics.margin)}: {listing(alike)}."
    nearest = rivals[0]
    return f"Faster than the next best, {nearest.rival.name}: {speed_up(nearest.estimate.ratio)}."


def noise(group: Group) -> str:
    """State the noise floor, which is of all noise checks together, and what a claim exceeds."""
    if group.noise_floor is None:
        return "One run shows no noise between runs: raise measurement.runs."
    floor = percent(group.noise_floor)
    said = f"By the noise checks, measuring alone may favour a side by up to {floor}"
    if group.margin is None:
        return f"{said}."
    claim = percent(group.margin)
    return f"{said}; a claim has to exceed {'that' if claim == floor else claim}."


def latency(judged: JudgedRecord) -> str:
    """State the latency beside the baseline's, which was measured alternately."""
    statistics = judged.statistics
    own = f"{duration(statistics.candidate.median_s)} a {call(judged.case.task)}"
    if judged.case.is_baseline:
        return own
    return f"{own}, eager beside it {duration(statistics.baseline.median_s)}"


def cold_start(judged: JudgedRecord, baseline: JudgedRecord | None) -> str:
    """State the seconds until the first call has returned, and those of eager's own case."""
    if judged.cold_s is None:
        return NOTHING
    said = duration(judged.cold_s)
    if judged.case.is_baseline:
        return said
    said += f" until the first {call(judged.case.task)} is done"
    if baseline is not None and baseline.cold_s is not None:
        said += f", eager {duration(baseline.cold_s)}"
    if judged.warm_s is not None and judged.warm_s < judged.cold_s / 2:
        said += f"; {duration(judged.warm_s)} once compiled"
    return said


def memory(judged: JudgedRecord) -> str:
    """State the peak memory of a cold and of a warm start, and what compilers took beside it."""
    cost = judged.record.cost
    if cost is None or judged.memory_bytes is None:
        return NOTHING
    where = "allocated on the GPU" if judged.case.device == "cuda" else "above the process's start"
    said = f"{size(judged.memory_bytes)} {where}, at the peak, preparing included"
    if cost.peak_children_bytes:
        said += f"; its largest child process {size(cost.peak_children_bytes)}"
    if judged.warm_memory_bytes is not None:
        said += f"; {size(judged.warm_memory_bytes)} of a warm start"
    return said


def break_even(judged: JudgedRecord, *, bounds: bool = True) -> str:
    """Say after how many calls the start is paid back; never where nothing is gained."""
    if judged.case.is_baseline or not judged.measured:
        return NOTHING
    if judged.verdict == "slower":
        return "never"
    if judged.verdict != "faster":
        return "not established"
    even = judged.record.cost.break_even_calls if judged.record.cost else None
    if even is None:
        return "not known"
    if even.estimate <= 1:
        return f"the first {call(judged.case.task)}"
    said = f"{calls(even.estimate)} {call(judged.case.task)}s"
    return f"{said} ({call_range(even)})" if bounds else said


def numerics(judged: JudgedRecord) -> str:
    """State how far the output is from the baseline's, and how far it may be."""
    found = judged.record.numerics
    if found is None:
        return NOTHING
    told = []
    if found.relative_l2 is not None or found.differing is None:
        told.append(f"relative error {relative_error(found.relative_l2)}")
    if found.differing is not None:
        told.append(f"{percent(found.differing)} of the integers differ")
    if found.error > found.whole_error:
        part = max((found.worst_item or 0.0, "item"), (found.worst_slice or 0.0, "slice"))
        told.append(f"of one {part[1]} {relative_error(part[0])}")
    sets = f", on {found.input_sets:,} sets of inputs" if found.input_sets > 1 else ""
    if found.gradient_error is not None:
        sets = (
            f"; gradients {relative_error(found.gradient_error)},"
            f" allowed {relative_error(found.gradient_tolerance)}"
        )
    if found.within_tolerance and found.usual_tolerance is not None:
        return (
            f"{found.compared} further off than the {deviation(found.usual_tolerance)} usual of"
            f" {judged.case.precision}, and so judged on your data: {', '.join(told)}{sets}"
        )
    return (
        f"{found.compared} {'within' if found.within_tolerance else 'outside'} tolerance:"
        f" {', '.join(told)}, allowed {relative_error(found.tolerance)}{sets}"
    )


def outputs(compared: Sequence[JudgedRecord]) -> str:
    """Say how many outputs are right, and which is furthest from eager's."""
    errors = [(found.error, judged) for judged in compared if (found := judged.record.numerics)]
    if not errors:
        return "No output was compared"
    within = sum(judged.record.status == "ok" for _, judged in errors)
    error, furthest = max(errors, key=lambda pair: pair[0])
    said = f"{plural(within, 'output')} of {len(errors):,} within tolerance"
    if error == 0:
        return f"{said}, all exactly eager's"
    weights = ", on random weights" if furthest.random_weights else ""
    furthest_off = f"{furthest.name} of {furthest.case.model} is furthest off"
    return f"{said}; {furthest_off}: {relative_error(error)}{weights}"


def quality(judged: JudgedRecord) -> str | None:
    """Say how the mode does on the user's data beside eager; None where there are none."""
    found = judged.record.quality
    if found is None:
        return None
    lead = {
        "no worse": "On your data it is no worse than eager",
        "worse": "On your data it is worse than eager",
        "unresolved": "Whether it is worse than eager on your data is open",
    }[found.verdict]
    percents = found.kind == "right or wrong"
    write, unit = (points, " points") if percents else (signed_figure, "")
    examples = plural(found.examples, "example")
    means = (
        f"{tenths(found.candidate)} of {examples} right, eager {tenths(found.baseline)}"
        if percents
        else f"mean score {figure(found.candidate)} on {examples}, eager {figure(found.baseline)}"
    )
    interval = (
        f" ({write(found.low)} to {write(found.high)})"
        if found.low is not None and found.high is not None
        else ""
    )
    said = (
        f"{lead}: {means}; the difference is {write(found.difference)}{unit}{interval},"
        f" allowed {write(-found.margin)}."
    )
    if found.verdict != "unresolved":
        return said
    if found.examples_needed is None:
        return f"{said} It lies so near to what is allowed that no number of examples would decide."
    return f"{said} {found.examples_needed:,} examples like these would decide."


def set_aside(group: Group) -> str | None:
    """Name the modes that are not picked because they are worse on the user's data."""
    worse = [c for c in group.cases if c.record.is_worse and c.measured]
    if not worse:
        return None
    return f"Not picked, because worse on your data: {listing([c.name for c in worse])}."


def exactness(judged: JudgedRecord) -> str | None:
    """Say whether the mode is any less exact than eager is, both held against fp64."""
    found = judged.record.exactness
    if found is None:
        return None
    if found.eager is None or found.mode is None:
        return f"not measured: {found.reason}"
    errors = f"relative error {relative_error(found.mode)}, eager {relative_error(found.eager)}"
    if found.mode <= AS_EXACT * found.eager:
        return f"no less exact than eager: {errors}"
    if not found.eager:
        return f"less exact than eager: {errors}"
    factor = digits(found.mode / found.eager, significant=2)
    return f"{factor} times eager's error: {errors}"


def agreement(judged: JudgedRecord) -> str | None:
    """Say how often the mode chooses otherwise than eager, and whether clear decisions flip."""
    found = judged.record.agreement
    if found is None:
        return None
    weights = "; of random weights, so of near ties" if found.random_weights else ""
    alike = round(found.top1 * found.decisions)
    share = f"{alike:,}" if found.decisions < _FEW_DECISIONS else tenths(found.top1)
    return (
        f"eager's first choice in {share} of {plural(found.decisions, 'decision')};"
        f" another in {percent(found.flips_by_lead[0])} of those that are closest in eager and in"
        f" {percent(found.flips_by_lead[-1])} of the clearest quarter; KL divergence"
        f" {deviation(found.kl_divergence)} nats{weights}"
    )


def verdict(judged: JudgedRecord) -> str:
    """Return the status of a case, or its verdict where it is ok.

    Eager against eager is no comparison of modes: it shows what measuring makes of no difference.
    """
    if judged.record.status != "ok":
        return judged.record.status
    if judged.case.is_baseline:
        return "noise check"
    if judged.record.is_worse:
        return "worse"
    if judged.record.no_effect is not None:
        return "no effect"
    return judged.verdict or "no verdict"


def result(judged: JudgedRecord) -> str:
    """Return how a case came out with its sign, and its own verdict where that does not stand."""
    said = with_sign(verdict(judged))
    return f"{said} (alone: {judged.record.verdict})" if judged.withdrawn else said


def with_sign(outcome: str) -> str:
    """Return a verdict, or another outcome, with its sign where it has one."""
    return f"{SIGNS[outcome]} {outcome}" if outcome in SIGNS else outcome


def best_case(found: BestCase) -> tuple[str, str, str]:
    """Return the title, the case and the value of a best case."""
    judged = found.case
    title, value = {
        "latency": ("Lowest latency", f"{duration(found.value)} a {call(judged.case.task)}"),
        "throughput": ("Highest throughput", f"{rate(found.value)} {judged.record.item}s/s"),
        "start": ("Fastest start", duration(found.value)),
        "memory": ("Smallest memory", size(found.value)),
    }[found.aim]
    return title, f"{judged.name}, batch {judged.case.batch_size:,}", value


def warnings(judged: JudgedRecord) -> list[str]:
    """Return every reason to trust a case's figures less, the run's own included."""
    found = list(judged.record.warnings)
    if judged.slowed_by is not None:
        found.append(
            f"a slowed job: eager took {judged.slowed_by:,.1f} times as long as in the rest of its"
            " group"
        )
    return found


def without_verdict(cases: Sequence[JudgedRecord]) -> str | None:
    """Say which cases got no verdict though they were measured, why, and what to do."""
    found = [judged for judged in cases if judged.no_verdict is not None]
    if not found:
        return None
    return (
        f"{plural(len(found), 'case')} got no verdict, such as {found[0].case}. {_doubt(found[0])}"
    )


def counts(cases: Sequence[JudgedRecord], *, unreadable: int = 0) -> str:
    """Say how many cases there are and how they ended: ``6 cases: 5 ok, 1 failed``."""
    found = Counter(judged.record.status for judged in cases) + Counter(unreadable=unreadable)
    order = ("ok", "wrong", "failed", "unreadable", "unsupported")
    ended = ", ".join(f"{found[status]:,} {status}" for status in order if found[status])
    return f"{plural(found.total(), 'case')}: {ended}" if ended else "No case was benchmarked"


def deployment(found: Deployment) -> str:
    """Name a deployment: ``house_price · training · cpu``."""
    return f"{found.model} · {found.task} · {found.device}"


def group(found: Group, *, several: bool) -> str:
    """Name a group, and its machine among several."""
    where = f" on {found.deployment.machine}" if several else ""
    return f"{deployment(found.deployment)} · batch {found.batch_size:,}{where}"


def figure_label(entry: FigureEntry, cases: Sequence[JudgedRecord]) -> str:
    """Describe a figure for those who do not see it."""
    name, title = entry.name, entry.title
    if entry.category == "Why":
        return f"{title}. The files beside each trace hold its figures."
    if name == "speed_up":
        told = [_how(c) for c in cases if c.measured]
    elif name == "heat_map":
        told = [
            f"{c.case.model}, batch {c.case.batch_size:,}, {_how(c)}" for c in cases if c.competes
        ]
    else:
        return f"{title}. The tables of this page hold its figures."
    return f"{title}: {'; '.join(told)}."


def _how(judged: JudgedRecord) -> str:
    return f"{judged.name} {speed_up(judged.speed_up)}, {verdict(judged)}"


def profiled(profile: CaseProfile) -> str:
    """Say how a profile ended, how much the profiler slowed the step, and what is missing."""
    summary = profile.summary
    if summary.get("status", "ok") != "ok":
        return f"Not profiled: {summary['status']}. {summary.get('reason') or ''}".strip()
    told = []
    slowed, plain = summary.get("profiled_step_s"), summary.get("unprofiled_step_s")
    if slowed and plain:
        told.append(
            f"With stacks, shapes and memory recorded a step took {duration(slowed)},"
            f" {ratio_digits(slowed / plain)} times as long as one without the profiler."
        )
    if faults := summary.get("faults"):
        missing = [f"{spoken(part)} ({reason})" for part, reason in faults.items()]
        told.append(f"Missing in it: {'; '.join(missing)}.")
    return " ".join(told)


def no_flame_graph(profile: CaseProfile) -> str | None:
    """Say why no Python stacks were recorded; None where they were, or where nothing is told."""
    told = profile.summary.get("stacks") or ""
    return told.removeprefix("none: ") if told.startswith("none: ") else None


def peak_memory(profile: CaseProfile) -> str:
    """Say what PyTorch's allocator, and no engine's own, holds in a step at the peak."""
    peak = {n: c for n, c in (profile.summary.get("memory_peak_bytes") or {}).items() if c}
    if not peak:
        return ""
    held = listing([f"{size(count)} of {spoken(name)}" for name, count in peak.items()])
    whole = f"{size(sum(peak.values()))}: " if len(peak) > 1 else ""
    return f"At its peak a step holds {whole}{held}, in PyTorch's own allocator."


def threshold(tried: Mapping[str, Any]) -> str:
    """Write the bound that a recommendation's figure crosses: a share, or a duration."""
    bound = tried["threshold"]
    return duration(bound) if tried["finding"] == "short kernels" else percent(bound)


def _gain(judged: JudgedRecord) -> str:
    interval = judged.speed_up
    return (
        f"{judged.name} is {estimate(interval)} as fast as eager,"
        f" 95 % interval {ratio_range(interval)}."
    )


def _side_by_side(judged: JudgedRecord) -> str:
    statistics, per = judged.statistics, call(judged.case.task)
    return (
        f"One {per} takes {duration(statistics.candidate.median_s)}"
        f" where eager takes {duration(statistics.baseline.median_s)}."
    )


def _doubt(judged: JudgedRecord) -> str:
    """Say why a case has no verdict and what to do, as two sentences."""
    assert judged.no_verdict is not None
    return " ".join(
        f"{text[0].upper()}{text[1:]}." for text in (judged.no_verdict, judged.no_verdict_remedy)
    )


def _each(cases: Sequence[JudgedRecord]) -> str:
    """Name every competitor with its verdict and speed-up."""
    told = [f"{c.name} {_is(c)}, {speed_up(c.speed_up)}" for c in cases]
    return "; ".join(told) + "."


def _is(judged: JudgedRecord) -> str:
    how = verdict(judged)
    alone = f" (alone: {judged.record.verdict})" if judged.withdrawn else ""
    return {"same": "is the same"}.get(how, f"is {how}{alone}")


def _others(group: Group, otherwise: str) -> str:
    """Say how the cases ended that gave nothing to compare."""
    others = Counter(verdict(c) for c in group.cases if not c.competes and c is not group.baseline)
    ended = [f"{count:,} {_ended(how, count)}" for how, count in others.items()]
    return listing(ended) if ended else otherwise


def _ended(how: str, count: int) -> str:
    """Return the predicate that goes with how some cases ended."""
    was = "was" if count == 1 else "were"
    predicates = {
        "failed": "failed",
        "wrong": "came out wrong",
        "worse": f"{was} worse on your data",
        "no effect": "did nothing",
        "unsupported": f"{was} unsupported",
    }
    return predicates.get(how, f"{was} left without a verdict")
