"""Studies of a run, each as a finding in words and a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torchmodes.planning.cases import Case, case_from
from torchmodes.report.data import ReportData, Study
from torchmodes.report.environments import mapping
from torchmodes.report.figures.studies import draw_study
from torchmodes.report.formatting import (
    NOTHING,
    TOO_NOISY,
    duration,
    estimate,
    listing,
    percent,
    plural,
    rate,
    ratio,
    ratio_range,
)
from torchmodes.report.plots import inline_svg
from torchmodes.results.records import Interval


@dataclass(frozen=True)
class StudyFinding:
    """What a study found: a title, a sentence or two, and the figures behind them.

    `svg` is its figure as it stands in the page, empty until it is drawn.
    """

    title: str
    text: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    svg: str = ""


def findings(data: ReportData) -> list[StudyFinding]:
    """Return the findings of every study that the report knows how to tell."""
    return [_drawn(study, data) for study in data.studies if study.name in TOLD]


def _judged(content: Mapping[str, Any], data: ReportData) -> Mapping[str, Any]:
    """Let the verdicts of a study's cases be those that stand among all cases of the run."""
    standing = {judged.case: judged.verdict for judged in data.cases}
    entries = []
    for entry in map(mapping, content.get("cases") or []):
        case = case_from(mapping(entry.get("case")))
        judged = {"verdict": standing[case]} if "verdict" in entry and case in standing else {}
        entries.append({**entry, **judged})
    return {**content, "cases": entries} if entries else content


def _drawn(study: Study, data: ReportData) -> StudyFinding:
    content = _judged(study.content, data)
    finding = TOLD[study.name](content)
    svg = inline_svg(
        draw_study(study.name, content),
        prefix=f"study-{study.name.replace('_', '-')}",
        label=f"{finding.title}. {finding.text}",
    )
    return replace(finding, svg=svg)


def tell_compile_cost(content: Mapping[str, Any]) -> StudyFinding:
    """Tell what a second start costs when the first has filled the compile caches."""
    rows, saved = [], []
    for entry in map(mapping, content.get("cases") or []):
        case = case_from(mapping(entry.get("case")))
        cold, warm = entry.get("cold_s"), entry.get("warm_s")
        known = isinstance(cold, float) and isinstance(warm, float) and warm > 0
        rows.append(
            (
                str(case),
                duration(cold),
                duration(warm),
                ratio(cold / warm) if known else NOTHING,
                entry.get("reason") or "",
            )
        )
        if known:
            saved.append((_name(case), cold, warm))
    return StudyFinding(
        title="A second start, from a warm compile cache",
        text=_warm_start(saved, len(rows)),
        columns=("Case", "Cold start", "Warm start", "Cold / warm", "Why not"),
        rows=tuple(rows),
    )


def tell_inference_context(content: Mapping[str, Any]) -> StudyFinding:
    """Tell what grad mode and no_grad cost beside inference_mode."""
    rows, costly, free, open_ = [], [], [], []
    for entry in map(mapping, content.get("cases") or []):
        case, found = case_from(mapping(entry.get("case"))), entry.get("speed_up")
        interval = Interval(**found) if found else None
        rows.append(
            (
                f"{case.model}, batch {case.batch_size:,}, {case.device}",
                entry["context"],
                duration(entry.get("latency_s")),
                estimate(interval) if interval else NOTHING,
                ratio_range(interval) if interval else entry.get("reason") or entry["status"],
                entry.get("verdict") or NOTHING,
            )
        )
        if interval is None or case.is_baseline:
            continue
        told = f"{entry['context']} on {case.model} {_said(interval)}"
        {"slower": costly, "faster": costly, "same": free}.get(entry["verdict"], open_).append(told)
    sentences = []
    if costly:
        sentences.append(f"Against inference_mode, the speed changed: {listing(costly)}.")
    if free:
        sentences.append(f"It made no difference that matters: {listing(free)}.")
    if open_:
        sentences.append(f"Not resolved: {listing(open_)}.")
    return StudyFinding(
        title="Inference context: grad, no_grad or inference_mode",
        text=" ".join(sentences) or "No context but inference_mode was measured.",
        columns=("Model", "Context", "Latency", "Speed", "95 % interval", "Verdict"),
        rows=tuple(rows),
    )


def tell_batch_scaling(content: Mapping[str, Any]) -> StudyFinding:
    """Tell from which batch size on more throughput is bought with latency alone."""
    rows, knees, rising = [], [], []
    for series in map(mapping, content.get("series") or []):
        name = f"{series['mode']} of {series['model']} ({series['precision']})"
        points = [point for point in series["points"] if point["latency_s"] is not None]
        rows += [
            (
                name,
                f"{point['batch_size']:,}",
                duration(point["latency_s"]),
                rate(point["throughput_per_s"]),
                "knee" if point["batch_size"] == series["knee"] else point["reason"] or "",
            )
            for point in series["points"]
        ]
        if series["knee"] is not None:
            best = max(point["throughput_per_s"] for point in points)
            at_knee = next(p for p in points if p["batch_size"] == series["knee"])
            where = f"at batch {series['knee']:,} ({duration(at_knee['latency_s'])} a call)"
            if at_knee is max(points, key=lambda point: point["batch_size"]):
                rising.append(f"{name} {where}")
            else:
                share = at_knee["throughput_per_s"] / best
                knees.append(f"{name} has {percent(share)} of its best throughput {where}")
    sentences = []
    if knees:
        sentences.append(f"{listing(knees)}; a larger batch adds latency and little else.")
    if rising:
        sentences.append(
            f"Throughput still rose up to the largest batch measured: {listing(rising)}."
        )
    return StudyFinding(
        title="Batch size: latency against throughput",
        text=" ".join(sentences) or "No case was measured at two batch sizes or more.",
        columns=("Case", "Batch", "Latency", "Throughput", ""),
        rows=tuple(rows),
    )


def tell_thread_scaling(content: Mapping[str, Any]) -> StudyFinding:
    """Tell what several threads bring over one."""
    rows, told = [], []
    for entry in map(mapping, content.get("cases") or []):
        case = case_from(mapping(entry.get("case")))
        for point in entry.get("points") or []:
            interval = Interval(**point["speed_up"])
            rows.append(
                (
                    str(case),
                    str(point["threads"]),
                    duration(point["latency_s"]),
                    estimate(interval),
                    ratio_range(interval),
                )
            )
        if not entry.get("points"):
            rows.append((str(case), NOTHING, NOTHING, NOTHING, entry.get("reason") or ""))
            continue
        last = entry["points"][-1]
        if last["threads"] > 1:
            name = f"{case.mode} of {case.model} ({case.task}, batch {case.batch_size:,})"
            gain = Interval(**last["speed_up"])
            told.append(
                f"{name} was {TOO_NOISY}"
                if gain.says_nothing
                else f"{name} runs {ratio(gain.estimate)} as fast with {last['threads']} as with"
                " one"
            )
    return StudyFinding(
        title="Threads: what each further one brings",
        text=f"{listing(told)}." if told else "No case was measured with several threads.",
        columns=("Case", "Threads", "Latency", "Over one thread", "95 % interval"),
        rows=tuple(rows),
    )


def tell_dynamic_shapes(content: Mapping[str, Any]) -> StudyFinding:
    """Tell how often a change of the batch size compiled again, and what that cost."""
    rows, told = [], {}
    for entry in map(mapping, content.get("cases") or []):
        case = case_from(mapping(entry.get("case")))
        name = f"{case.mode} of {case.model} ({case.task})"
        kept = {None: "", True: "drop_last", False: "last batch kept"}[entry.get("drop_last")]
        rows.append(
            (
                name,
                entry["variant"],
                kept,
                *(NOTHING if entry[n] is None else str(entry[n]) for n in ("graphs", "recompiles")),
                duration(entry.get("spike_s")),
                duration(entry.get("usual_s")),
                entry.get("reason") or "",
            )
        )
        if entry.get("recompiles") is not None and entry.get("drop_last") is not True:
            told.setdefault(name, []).append(
                f"{entry['variant']} compiled again"
                f" {plural(entry['recompiles'], 'time')} (slowest call after the first"
                f" {duration(entry['spike_s'])})"
            )
    return StudyFinding(
        title="Changing batch sizes under torch.compile",
        text=" ".join(f"{name}, its batch size changing: {listing(t)}." for name, t in told.items())
        or "No case ran.",
        columns=(
            *("Case", "Variant", "Last batch", "Graphs", "Recompiles"),
            *("Slowest later call", "Usual call", "Why not"),
        ),
        rows=tuple(rows),
    )


TOLD: dict[str, Callable[[Mapping[str, Any]], StudyFinding]] = {
    "batch_scaling": tell_batch_scaling,
    "compile_cost": tell_compile_cost,
    "dynamic_shapes": tell_dynamic_shapes,
    "inference_context": tell_inference_context,
    "thread_scaling": tell_thread_scaling,
}


def _warm_start(saved: list[tuple[str, float, float]], cases: int) -> str:
    if not saved:
        return f"None of {plural(cases, 'case')} started twice."
    told = [f"{name} in {duration(warm)} instead of {duration(cold)}" for name, cold, warm in saved]
    return f"With the compile cache of a first start, {listing(told)} (one start each)."


def _said(interval: Interval) -> str:
    return TOO_NOISY if interval.says_nothing else ratio(interval.estimate)


def _name(case: Case) -> str:
    return f"{case.mode} of {case.model} ({case.task}, batch {case.batch_size:,}) starts"
