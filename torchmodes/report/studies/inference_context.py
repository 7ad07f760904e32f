"""Inference context: what grad mode and no_grad cost beside inference_mode."""

from __future__ import annotations

from matplotlib.figure import Figure

from torchmodes.report.figures.panels import Panel, label_rows, label_width, stack, value_beside
from torchmodes.report.formatting import (
    NOTHING,
    TOO_NOISY,
    duration,
    estimate,
    listing,
    ratio,
    ratio_range,
)
from torchmodes.report.studies.rows import ROW, Told, case_name
from torchmodes.report.style import INK, look
from torchmodes.studies.catalogue import InContext, InferenceContext

_SENTENCES = {
    "changed": "Against inference_mode, the speed changed: {}.",
    "same": "It made no difference that matters: {}.",
    "open": "Not resolved: {}.",
}


def tell(result: InferenceContext) -> Told:
    """Tell what grad mode and no_grad cost beside inference_mode."""
    found: dict[str, list[str]] = {name: [] for name in _SENTENCES}
    for one in result.cases:
        if one.speed_up is not None and not one.identity.is_baseline:
            kind = {"slower": "changed", "faster": "changed", "same": "same"}
            said = TOO_NOISY if one.speed_up.says_nothing else ratio(one.speed_up.estimate)
            found[kind.get(one.verdict or "", "open")].append(
                f"{one.context} on {one.case.model} {said}"
            )
    sentences = [_SENTENCES[name].format(listing(told)) for name, told in found.items() if told]
    text = " ".join(sentences) or "No context but inference_mode was measured."
    columns = ("Model", "Context", "Latency", "Speed", "95 % interval", "Verdict")
    return text, columns, tuple(map(_row, result.cases))


def _row(one: InContext) -> tuple[str, ...]:
    case = one.case
    return (
        f"{case.model}, batch {case.batch_size:,}, {case.device}",
        one.context,
        duration(one.latency_s),
        estimate(one.speed_up) if one.speed_up else NOTHING,
        ratio_range(one.speed_up) if one.speed_up else one.reason or one.status,
        one.verdict or NOTHING,
    )


def draw(result: InferenceContext) -> Figure | None:
    """Draw each context's speed against inference_mode, with its interval."""
    cases = [one for one in result.cases if one.speed_up and not one.speed_up.says_nothing]
    if not cases:
        return None
    labels = [case_name(one.identity, mode=one.context) for one in cases]
    panel = Panel("speed against inference_mode (below 1: slower)", ROW * len(cases))
    figure, (ax,) = stack([panel], left=label_width(labels), right=0.75)
    for y, one in enumerate(cases):
        speed_up, seen = one.speed_up, look(one.case.mode)
        assert speed_up is not None
        bounds = [speed_up.low or speed_up.estimate, speed_up.high or speed_up.estimate]
        ax.plot(bounds, [y, y], color=seen.colour, linewidth=2)
        resolved = one.verdict in ("faster", "slower")
        (mark,) = ax.plot(speed_up.estimate, y, **seen.point(filled=resolved))
        mark.set_marker("o")
        value_beside(ax, y, ratio(speed_up.estimate), strong=resolved)
    ax.axvline(1, color=INK, linewidth=1)
    label_rows(ax, labels)
    ax.set_xlabel("time in inference_mode / time in this context")
    return figure
