"""A comparison as one page of HTML, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from torchmodes.report.comparison import sentences
from torchmodes.report.comparison.changes import OUTCOMES, Change, Comparison
from torchmodes.report.comparison.figures import draw_changes, draw_history
from torchmodes.report.comparison.runs import ComparedRun, Difference
from torchmodes.report.formatting import NOTHING, duration, listing, ratio
from torchmodes.report.html import render_template
from torchmodes.report.markdown import (
    Code,
    markdown_code,
    markdown_list,
    markdown_table,
    markdown_text,
)
from torchmodes.report.plots import InlineFigure, inline_svg
from torchmodes.report.sections import Facets
from torchmodes.report.sentences import with_sign
from torchmodes.results.writing import write_atomically

HEAD = (
    *("case", "change", "speed-up here / there", "95 % interval", "counts as none"),
    *("latency there", "here", "took", "note"),
)
_BRIEF_HEAD = ("mode", "change", "here / there", "95 % interval", "latency", "took")
_MOST_DIFFERENCES = 12
_ABOUT_CHANGES = (
    "Above 1 the mode gained on eager, below 1 it lost. Filled: faster or slower. A bar that ends"
    " at the edge goes on beyond it."
)
_ABOUT_HISTORY = (
    "The speed-up over eager that each run measured, with its interval; in order of time. All"
    " scales of a group span the same share."
)


def write_comparison(
    comparison: Comparison, *, html: Path, markdown: Path, history: Sequence[ComparedRun] = ()
) -> None:
    """Write both; `history` has all runs in order of time."""
    write_atomically(html, render_comparison(comparison, history=history))
    write_atomically(markdown, render_markdown(comparison))


def render_comparison(comparison: Comparison, *, history: Sequence[ComparedRun] = ()) -> str:
    """Return the comparison as HTML: the same records give the same text."""
    return render_template(
        "comparison.html.j2",
        comparison=comparison,
        said=sentences,
        changes=ordered(comparison),
        facets=Facets.of([change.case for change in comparison.changes]),
        figures=list(_figures(comparison, history)),
        history=history,
    )


def render_brief(comparison: Comparison) -> str:
    """Return the comparison as Markdown for a terminal: group by group, the verdict at the end."""
    warning = sentences.machines(comparison)
    eager = {change.case: sentences.eager(change) for change in comparison.eager}
    parts = [
        markdown_text(f"There: {comparison.base.title}. Here: {comparison.this.title}."),
        f"**{markdown_text(warning)}**" if warning else "",
        _differences(comparison.differences[:_MOST_DIFFERENCES]),
    ]
    if (more := len(comparison.differences) - _MOST_DIFFERENCES) > 0:
        parts.append(f"And {more} more.")
    for baseline, changes in groupby(
        sorted(ordered(comparison), key=lambda change: change.case.baseline),
        key=lambda change: change.case.baseline,
    ):
        parts += [
            f"**{markdown_text(sentences.group(baseline))}**",
            markdown_table(_BRIEF_HEAD, [_brief_row(change) for change in changes]),
            markdown_text(eager.get(baseline, "")),
        ]
    for where, cases in (("there", comparison.only_base), ("here", comparison.only_this)):
        if cases:
            parts.append(f"Only {where}: {listing([markdown_code(str(case)) for case in cases])}.")
    parts += [f"**{markdown_text(f'Not compared: {one}.')}**" for one in comparison.unreadable]
    parts.append(f"**{sentences.headline(comparison)}. {sentences.counts(comparison)}.**")
    return "\n\n".join(filter(None, parts))


def render_markdown(comparison: Comparison) -> str:
    """Return the comparison as Markdown: the same records give the same text."""
    warning = sentences.machines(comparison)
    parts = [
        "# Two runs compared",
        f"**{markdown_text(warning)}**" if warning else "",
        f"{sentences.headline(comparison)}. {sentences.counts(comparison)}.",
        markdown_text(f"There: {comparison.base.title}. Here: {comparison.this.title}."),
        "## What is different around them",
        _differences(comparison.differences),
        "## Cases",
        sentences.METHOD,
        markdown_table(HEAD, [_row(change) for change in ordered(comparison)]),
        "## Eager itself",
        "\n".join(
            f"- {markdown_text(f'{sentences.group(change.case)}: {sentences.eager(change)}')}"
            for change in comparison.eager
        )
        or "No case was measured in both runs.",
        *markdown_list("Only there", [f"`{case}`" for case in comparison.only_base]),
        *markdown_list("Only here", [f"`{case}`" for case in comparison.only_this]),
        *markdown_list("Not compared", [markdown_text(str(one)) for one in comparison.unreadable]),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def ordered(comparison: Comparison) -> list[Change]:
    """Return the changes in the order in which a reader wants to know of them."""
    return sorted(comparison.changes, key=lambda c: (OUTCOMES.index(c.outcome), c.case))


def _figures(comparison: Comparison, history: Sequence[ComparedRun]) -> Iterator[InlineFigure]:
    if (figure := draw_changes(comparison)) is not None:
        svg = inline_svg(figure, prefix="changes", label=sentences.figure_label(comparison))
        yield InlineFigure(svg, "Change of speed-ups", _ABOUT_CHANGES)
    if (figure := draw_history(history)) is not None:
        label = "Speed-ups of every case from run to run."
        svg = inline_svg(figure, prefix="history", label=label)
        yield InlineFigure(svg, "Speed-ups from run to run", _ABOUT_HISTORY)


def _differences(found: Sequence[Difference]) -> str:
    if not found:
        return "Nothing that the records tell of: machine, versions and settings are the same."
    rows = [[one.title, one.base, one.this] for one in found]
    return markdown_table(("what", "there", "here"), rows)


def _brief_row(change: Change) -> list[str]:
    return [
        change.name,
        with_sign(change.outcome),
        *sentences.change_text(change),
        duration(change.this_s),
        ratio(change.took),
    ]


def _row(change: Change) -> list[str]:
    return [
        Code(str(change.case)),
        with_sign(change.outcome),
        *sentences.change_text(change),
        sentences.margin_text(change),
        duration(change.base_s),
        duration(change.this_s),
        ratio(change.took),
        sentences.notes(change) or NOTHING,
    ]
