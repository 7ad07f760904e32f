"""The figures: each registered once, for the page, for the app and for Snakemake's own report.

To add one, add an entry here and a module that draws it. Nothing here imports matplotlib: the
workflow reads this whenever it starts. ``rules/captions`` is made from it, by
``python -m tools.captions``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class FigureEntry:
    """One figure.

    Attributes
    ----------
    name
        Of its file: ``results/plots/{name}.svg``, or ``{name}.svg`` beside a profile.
    category, subcategory
        Its place in Snakemake's report; the category is also the section of the page.
    draws, has_data
        The function that draws it and the one that tells whether there is anything to draw, each as
        ``module.function`` of this package.
    of
        What one figure shows: a deployment (a model on a device), a whole run, or one profile.
    source
        What it is made of.
    """

    name: str
    title: str
    caption: str
    category: Literal["Speed", "Cost", "Numerics", "Why"]
    subcategory: str
    draws: str
    has_data: str
    of: Literal["deployment", "run", "profile"] = "deployment"
    source: Literal["records", "trainings", "profiles"] = "records"

    @property
    def draw(self) -> Callable[..., Any]:
        """What draws it, from `ReportData`, or from a profile."""
        return _function(self.draws)

    @property
    def is_in(self) -> Callable[..., bool]:
        """What tells whether data hold anything for it."""
        return _function(self.has_data)

    @property
    def modules(self) -> set[str]:
        """The modules that it is drawn by; no import shows them."""
        return {f"{__name__}.{name.partition('.')[0]}" for name in (self.draws, self.has_data)}


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(".")
    return getattr(import_module(f"{__name__}.{module}"), function)


FIGURES: tuple[FigureEntry, ...] = (
    FigureEntry(
        name="speed_up",
        title="Speed-up over eager",
        caption="Eager's time / the mode's, with its 95 % interval, on a scale that is wide near 1."
        " A bar within the pale band counts for nothing; one that leaves it only in part is"
        " unresolved. Filled: faster or slower.",
        category="Speed",
        subcategory="Against eager",
        draws="comparison.draw_speed_up",
        has_data="comparison.measured",
        of="run",
    ),
    FigureEntry(
        name="heat_map",
        title="Modes by models",
        caption="Speed-up over eager of every mode on every model, at one batch size each. Blue is"
        " faster, orange slower, grey the same or unresolved; n/a: unsupported; none: without"
        " effect.",
        category="Speed",
        subcategory="Against eager",
        draws="heat.draw_heat",
        has_data="heat.heat_maps",
        of="run",
    ),
    FigureEntry(
        name="batches",
        title="Latency and throughput against batch size",
        caption="Median latency and items per second of each mode as the batch grows; both scales"
        " are logarithmic. Absolute times: compare modes by their speed-up.",
        category="Speed",
        subcategory="Absolute times",
        draws="batches.draw_batches",
        has_data="batches.has_batches",
    ),
    FigureEntry(
        name="runs",
        title="Runs over time",
        caption="The speed-up over eager that each process measured, by when it began. All scales"
        " of a group span the same share. Level: it repeats. Hollow: a run that is not counted.",
        category="Speed",
        subcategory="Against eager",
        draws="runs.draw_runs",
        has_data="runs.repeated",
    ),
    FigureEntry(
        name="latency",
        title="Distribution of latencies",
        caption="Each dot is a twentieth of the samples, fastest to slowest; eager, measured"
        " alternately, below. Absolute times wander with the machine; compare by speed-up.",
        category="Speed",
        subcategory="Absolute times",
        draws="comparison.draw_latency",
        has_data="comparison.any_samples",
    ),
    FigureEntry(
        name="cost",
        title="Start and memory",
        caption="Preparation and first call: cold, with empty compile caches; warm, from what an"
        " earlier run left. Below, the memory at its peak.",
        category="Cost",
        subcategory="Before the first result",
        draws="cost.draw_cost",
        has_data="cost.costed",
    ),
    FigureEntry(
        name="trade_off",
        title="Time against memory and start",
        caption="A call's time, as a share of eager's, against the memory at its peak and against"
        " the cold start. Down and to the left is better. Filled and joined by the line: no mode"
        " beats it in both (the Pareto front).",
        category="Cost",
        subcategory="Time and memory",
        draws="trade_off.draw_trade_off",
        has_data="trade_off.weighed",
    ),
    FigureEntry(
        name="break_even",
        title="Until the start has paid",
        caption="Start and calls added up. Above 0 % a mode has saved time over all; a marker"
        " shows where one that is faster gets there, its bar the 95 % interval.",
        category="Cost",
        subcategory="Until it has paid",
        draws="cost.draw_break_even",
        has_data="cost.paying",
    ),
    FigureEntry(
        name="losses",
        title="Loss curves",
        caption="Curves that coincide are drawn one inside the other, the first mode widest. The"
        " last panel shows how far each is from eager.",
        category="Numerics",
        subcategory="Training",
        draws="losses.draw_losses",
        has_data="losses.trained",
        of="run",
        source="trainings",
    ),
    FigureEntry(
        name="step_parts",
        title="What a step is made of",
        caption="Each bar is as long as the measured time, as a share of eager's; the profile says"
        " only how it is divided. Python and idle: neither an operator nor a kernel runs.",
        category="Why",
        subcategory="Overview",
        draws="step_parts.draw_step_parts",
        has_data="step_parts.step_bars",
        of="run",
        source="profiles",
    ),
    FigureEntry(
        name="timeline",
        title="One step as it passes",
        caption="Eager above, what is shipped below, each as long as measured. A slice has the"
        " colour of the operators that take most of it; on a GPU, of the kernels.",
        category="Why",
        subcategory="Overview",
        draws="timeline.draw_timeline",
        has_data="timeline.timeline_pairs",
        of="run",
        source="profiles",
    ),
    FigureEntry(
        name="roofline",
        title="Roofline",
        caption="What each case reaches, under what this machine reached in matrix products and in"
        " copies. A byte is compulsory if no fusion can spare it.",
        category="Why",
        subcategory="Overview",
        draws="roofline.draw_roofline",
        has_data="roofline.placed_points",
        of="run",
        source="profiles",
    ),
    FigureEntry(
        name="by_layer",
        title="Layer by layer",
        caption="Eager above, what is shipped below, and how many times as fast: the modules that"
        " both profiles tell, the ten largest of one level. Shares are the profiles', of the"
        " measured time.",
        category="Why",
        subcategory="Layers",
        draws="layer_pairs.draw_by_layer",
        has_data="layer_pairs.paired_layers",
        of="run",
        source="profiles",
    ),
    FigureEntry(
        name="layers",
        title="Forward pass by module",
        caption="The forward pass: a module is as wide as its time, its submodules stand below it."
        " Where no modules run, operators and kernels tell theirs.",
        category="Why",
        subcategory="Layers",
        draws="profiles.draw_layers",
        has_data="profiles.with_layers",
        of="run",
        source="profiles",
    ),
    FigureEntry(
        name="memory",
        title="Memory over time",
        caption="Resident memory of the process while the case is built, called for the first time"
        " and warmed up; below, what its operators allocate in the recorded steps.",
        category="Why",
        subcategory="Memory",
        draws="profiles.draw_memory",
        has_data="profiles.has_memory",
        of="profile",
        source="profiles",
    ),
)


def figure_named(name: str) -> FigureEntry:
    """Return a figure's entry.

    Raises
    ------
    ValueError
        When there is no such figure.
    """
    found = {entry.name: entry for entry in FIGURES}
    if name not in found:
        raise ValueError(f"no figure is called {name!r}; there are {', '.join(found)}")
    return found[name]


def figures_of(*sources: str) -> list[FigureEntry]:
    """Return the figures made of records, trainings or profiles."""
    return [entry for entry in FIGURES if entry.source in sources]


def figure_modules() -> list[str]:
    """Return the modules that the figures are drawn by."""
    return sorted(set().union(*(entry.modules for entry in FIGURES)))
