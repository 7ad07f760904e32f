"""A comparison on the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchmodes.planning.cases import Case
from torchmodes.report.comparison import sentences
from torchmodes.report.comparison.changes import Change, Comparison
from torchmodes.report.comparison.pages import ordered
from torchmodes.report.formatting import duration, listing, ratio

_STYLES = {"faster": "green", "slower": "bold red", "lost": "bold red", "unresolved": "yellow"}
_MOST_DIFFERENCES = 12


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print what differs around the runs, every case, eager itself, and what is not in both."""
    console = console or Console(highlight=False)
    console.print(Text(f"there: {comparison.base.title}\n here: {comparison.this.title}"))
    if (warning := sentences.machines(comparison)) is not None:
        console.print(Text(warning, "bold yellow"))
    if comparison.differences:
        console.print(_differences(comparison))
    else:
        console.print("The records tell of no difference in machine, versions and settings.")
    eager = {change.case: sentences.eager(change) for change in comparison.eager}
    for baseline, changes in _groups(comparison):
        console.print()
        console.print(_cases(baseline, changes, caption=eager.get(baseline)))
    console.print()
    for where, cases in (("there", comparison.only_base), ("here", comparison.only_this)):
        if cases:
            console.print(Text(f"Only {where}: {listing([str(case) for case in cases])}."))
    for one in comparison.unreadable:
        console.print(Text(f"Not compared: {one}.", "bold yellow"))
    console.print(
        Text(f"{sentences.headline(comparison)}. {sentences.counts(comparison)}.", "bold")
    )


def _differences(comparison: Comparison) -> Table:
    table = Table("different", "there", "here", box=box.SIMPLE_HEAD, show_edge=False)
    shown = comparison.differences[:_MOST_DIFFERENCES]
    for found in shown:
        table.add_row(Text(found.title), Text(found.base), Text(found.this))
    if rest := len(comparison.differences) - len(shown):
        table.add_row(Text(f"and {rest} more"), Text(""), Text(""))
    return table


def _groups(comparison: Comparison) -> Iterator[tuple[Case, list[Change]]]:
    """Yield each group's changes, those that a reader wants to know of first."""
    changes = sorted(ordered(comparison), key=lambda change: change.case.baseline)
    for baseline, members in groupby(changes, key=lambda change: change.case.baseline):
        yield baseline, list(members)


def _cases(baseline: Case, changes: list[Change], *, caption: str | None) -> Table:
    table = Table(
        title=Text(sentences.group(baseline), "bold"),
        caption=None if caption is None else Text(caption),
        caption_style="default",
        caption_justify="left",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
    )
    table.add_column("mode", overflow="fold", min_width=13)
    table.add_column("change", no_wrap=True)
    for name in ("here / there", "95 % interval", "latency", "took"):
        table.add_column(name, justify="right", no_wrap=True)
    for change in changes:
        table.add_row(*_row(change))
    return table


def _row(change: Change) -> list[Text]:
    cells = [
        Text(change.name),
        Text(sentences.sign(change), _STYLES.get(change.outcome, "default")),
    ]
    if change.ratio is None:
        return cells
    estimate, interval = sentences.change_text(change)
    return [
        *cells,
        Text(estimate),
        Text(interval),
        Text(duration(change.this_s)),
        Text(ratio(change.took)),
    ]
