"""What a comparison says in sentences, chosen by its outcomes."""

from __future__ import annotations

from collections import Counter

from torchmodes.planning.cases import Case
from torchmodes.report.comparison.changes import OUTCOMES, Change, Comparison, EagerChange
from torchmodes.report.formatting import (
    NOTHING,
    TOO_NOISY,
    estimate,
    group_name,
    listing,
    plural,
    ratio,
    ratio_digits,
    ratio_range,
)
from torchmodes.results.records import Record

MEANINGS = {
    "lost": "measured there, not here",
    "gained": "measured here, not there",
    "neither": "measured in neither run",
}
_MUCH = 1.1
METHOD = (
    "Each run measured every mode against eager, in turns in the same processes. The change is"
    " the ratio of those two speed-ups, so that it does not contain how fast the machine happened"
    " to be. Faster and slower ask its whole interval to clear the noise floors of both runs and"
    " the smallest effect that counts, among all cases compared (Holm). What eager and a mode share"
    " is seen in eager's own line alone, where it cannot be told from the machine's state."
)


def headline(comparison: Comparison) -> str:
    """Return what became of the cases in a few words."""
    found = Counter(change.outcome for change in comparison.changes)
    worse = [f"{found[name]:,} {name}" for name in ("slower", "lost") if found[name]]
    if worse:
        return f"{listing(worse)}, of {plural(len(comparison.changes), 'case')}"
    if found["faster"]:
        return f"Nothing is shown to be slower; {found['faster']:,} faster"
    if found["unresolved"]:
        return "Nothing is shown to be slower"
    return "Nothing changed" if found["same"] else "Nothing could be compared"


def counts(comparison: Comparison) -> str:
    """Say how all cases came out: ``6 cases in both runs: 5 same, 1 slower``."""
    found = Counter(change.outcome for change in comparison.changes)
    told = ", ".join(f"{found[name]:,} {name}" for name in OUTCOMES if found[name])
    return f"{plural(len(comparison.changes), 'case')} in both runs: {told}"


def machines(comparison: Comparison) -> str | None:
    """Warn, before all else, that the runs were not made on one machine."""
    if comparison.same_machine:
        return None
    there, here = (
        listing([str(machine) for machine in run.machines])
        for run in (comparison.base, comparison.this)
    )
    return (
        f"Different machines: {there} there, {here} here. What differs below may be the hardware's"
        " doing, and no absolute time is comparable."
    )


def group(case: Case) -> str:
    """Name the group of a case: ``house_price · training · batch 2,048 · cpu``."""
    return f"{group_name(case)} · {case.device}"


def eager(change: EagerChange) -> str:
    """Say how eager's own speed changed, and what that does not tell."""
    speed = change.speed
    if speed.says_nothing:
        return f"Eager itself: {TOO_NOISY} how it changed ({change.cases:,} cases each)."
    told = ratio(speed.estimate)
    if speed.low is not None:
        told += f" ({ratio_range(speed)}, {change.cases:,} cases each)"
    match change.verdict:
        case "same":
            return f"Eager itself is as fast as there: {told}."
        case "unresolved":
            return f"Eager itself ran {told} as fast as there, which shows no change."
    return (
        f"Eager itself is {change.verdict}: {told} as fast as there. That is the software or the"
        " machine's state, which two runs cannot tell apart; modes are compared relative to it."
    )


def notes(change: Change) -> str:
    """Say what else to know about a case: why it is not measured, how eager fared beside it."""
    told = []
    if change.outcome in MEANINGS:
        told.append(MEANINGS[change.outcome])
        told.append(f"there {_how(change.base)}, here {_how(change.this)}")
        if change.this.reason:
            told.append(change.this.reason)
    told += [
        f"no verdict {where}: {record.no_verdict}"
        for where, record in (("there", change.base), ("here", change.this))
        if record.no_verdict is not None
    ]
    if change.outcome in ("same", "unresolved") and _much_slower(change):
        told.append(
            f"took {ratio(change.took)} as long, but so did eager beside it"
            f" ({ratio(change.eager_took)}): the machine, or what they share"
        )
    if change.same_measurement:
        told.append("both records are of one measurement, compared block by block")
    if change.parameters:
        told.append(f"configured differently: {', '.join(change.parameters)}")
    return "; ".join(told)


def change_text(change: Change) -> tuple[str, str]:
    """Return the change of a speed-up and its interval."""
    if change.ratio is None:
        return NOTHING, NOTHING
    return estimate(change.ratio), ratio_range(change.ratio)


def margin_text(change: Change) -> str:
    """Return the range of ratios that counts as no change."""
    if change.margin is None:
        return NOTHING
    return f"{ratio_digits(1 / (1 + change.margin))}–{ratio_digits(1 + change.margin)}"


def figure_label(comparison: Comparison) -> str:
    """Describe the figure of all changes for those who do not see it."""
    told = [
        f"{change.case} {' '.join(change_text(change))}, {change.outcome}"
        for change in comparison.changes
        if change.ratio is not None
    ]
    return f"Change of each speed-up: {'; '.join(told)}."


def _much_slower(change: Change) -> bool:
    """Tell whether the mode and eager beside it both took a tenth longer or more."""
    return min(change.took or 0, change.eager_took or 0) >= _MUCH


def _how(record: Record) -> str:
    return "without effect" if record.status == "ok" and record.no_effect else record.status
