"""The report's sections: which there are, and what each shows of the data.

A section with nothing to show is left out, and the numbers of the others close up. To add one, add
an entry to `SECTIONS` and a template of its name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import yaml

from torchmodes.planning.cases import Case
from torchmodes.report import sentences
from torchmodes.report.answer_table import answer_table
from torchmodes.report.case_tables import (
    cost_columns,
    numerics_columns,
    speed_columns,
    start_columns,
    telling,
)
from torchmodes.report.data import CASES_SHOWN, ReportData
from torchmodes.report.environments import (
    Condition,
    Machine,
    conditions,
    is_version,
    machine_of,
)
from torchmodes.report.figures import FIGURES, figure_named
from torchmodes.report.figures.losses import distances
from torchmodes.report.generation import generation_tables
from torchmodes.report.hardware import advice_by_hardware, limit
from torchmodes.report.lengths import BY_CASE, BY_LENGTH, lengths_found
from torchmodes.report.plots import InlineFigure, inline_figures
from torchmodes.report.problems import KINDS, MEANINGS, all_well, by_reason, problems
from torchmodes.report.recommendation import (
    BestCase,
    ModeRecommendation,
    best_cases,
    group_cases,
    recommend,
)
from torchmodes.report.studies import findings
from torchmodes.report.tables import judged_table
from torchmodes.report.unresolved import headline, unresolved
from torchmodes.report.verdicts import Deployment, JudgedRecord
from torchmodes.report.why import section_why

_NUMBER = re.compile(r"(?<!run )\d+(?:,\d{3})*(?:\.\d+)?")
_GIT = {"git.revision": "git revision", "git.dirty": "uncommitted changes"}


@dataclass(frozen=True)
class PageSection:
    """One section: its anchor (and template), its title, and what it shows; None: leave it out."""

    name: str
    title: str
    content: Callable[[ReportData, Path], dict[str, Any] | None]


@dataclass(frozen=True)
class SectionFigures:
    """The figures of a section: of the whole run, and of each deployment."""

    of_run: list[InlineFigure]
    by_deployment: list[tuple[Deployment, list[InlineFigure]]]

    @property
    def titles(self) -> list[str]:
        """What the figures of the deployments are called, each once."""
        return [*dict.fromkeys(one.title for _, shown in self.by_deployment for one in shown)]


@dataclass(frozen=True)
class Answers:
    """The recommendation for every batch size of one deployment, and the best cases across them."""

    deployment: Deployment
    recommendations: tuple[ModeRecommendation, ...]
    best_cases: tuple[BestCase, ...]


@dataclass(frozen=True)
class Place:
    """One machine and the conditions under which its results were made."""

    machine: Machine
    conditions: tuple[Condition, ...]
    versions: tuple[Condition, ...]
    differing: tuple[str, ...]


@dataclass(frozen=True)
class Facets:
    """The values of the fields in which some cases differ, and what all have in common."""

    varying: Mapping[str, list[Any]]
    common: str

    @staticmethod
    def of(cases: Sequence[Case]) -> Facets:
        """Part the fields of cases into those that vary and the others."""
        names = [field.name for field in fields(Case)]
        values = {name: sorted({getattr(case, name) for case in cases}) for name in names}
        common = {name: found[0] for name, found in values.items() if len(found) == 1}
        if "batch_size" in common:
            common["batch_size"] = f"batch {common['batch_size']:,}"
        return Facets(
            varying={name: found for name, found in values.items() if len(found) > 1},
            common=" · ".join(common.values()),
        )


def section_ship(data: ReportData, _: Path) -> dict[str, Any]:
    """Show what to ship per group, every comparison, and the best cases per deployment."""
    shown = data.excerpt()
    return {
        "table": answer_table(data),
        "unresolved": headline(unresolved(data)),
        "forest": inline_figures([figure_named("speed_up")], shown, of="run"),
        "answers": [found for found in answers(data) if found.deployment in shown.deployments],
        "hardware": advice_by_hardware(data),
        "limit": partial(limit, data=data),
        "warnings": warnings_of,
    }


def section_open(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show what every unresolved comparison can still change."""
    found = unresolved(data)[:CASES_SHOWN]
    if not found:
        return None
    return {
        "open": [one for one in found if one.command is not None],
        "decided": [one for one in found if one.command is None],
    }


def section_compare(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show the table of all cases, and the figures of speed."""
    if not data.cases:
        return None
    shown = data.excerpt()
    table = judged_table(shown.cases, data.unreadable_cases)
    csv = table.to_csv(index=False, lineterminator="\n").encode()
    return {
        "cases": shown.cases,
        "columns": telling(speed_columns(), shown.cases),
        "facets": {
            name: sorted({getattr(judged.case, name) for judged in shown.cases})
            for name in Facets.of([judged.case for judged in data.cases]).varying
        },
        "machines": sorted(data.places.values()),
        "verdicts": sorted({sentences.verdict(judged) for judged in shown.cases}),
        "csv": base64.b64encode(csv).decode("ascii"),
        "figures": _figures(shown, "Speed"),
    }


def section_cost(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show what each mode costs, and when it has paid."""
    shown = data.excerpt()
    costed = [judged for judged in shown.cases if judged.record.cost is not None]
    if not costed:
        return None
    columns = telling(cost_columns(data), costed)
    return {
        "cases": costed,
        "columns": columns,
        "heads": {column.head for column in columns},
        "start_columns": telling(start_columns(), costed),
        "figures": _figures(shown, "Cost"),
    }


def section_right(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show numerics per case, and how training came out in every mode."""
    compared = [judged for judged in data.excerpt().cases if judged.record.numerics is not None]
    if not compared and not data.trainings:
        return None
    modes = [judged for judged in compared if not judged.case.is_baseline]
    return {
        "cases": compared,
        "columns": telling(numerics_columns(), compared),
        "random": any(judged.random_weights for judged in compared),
        "said": sentences.outputs(compared),
        "further": [j for j in modes if j.record.exactness or j.record.agreement],
        "scored": [j for j in modes if j.record.quality],
        "trainings": data.trainings,
        "target": data.config.get("data", {}).get("target"),
        "figures": _figures(data.excerpt(), "Numerics"),
        "agreement": loss_agreement(data),
    }


def section_lengths(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show what was measured on batches of different sizes."""
    if (found := lengths_found(data.excerpt().cases)) is None:
        return None
    passes = ("Passes over all batches", BY_CASE, found.by_case)
    latencies = ("Latency by length", BY_LENGTH, found.by_length)
    return {"sentences": found.sentences, "tables": (passes, latencies)}


def section_generation(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show what generating text takes, token by token."""
    found = [j for j in data.excerpt().cases if j.record.generation is not None]
    if not found:
        return None
    return {
        "cases": found,
        "tables": generation_tables(found, data),
        "facets": Facets.of([judged.case for judged in found]),
    }


def section_studies(data: ReportData, _: Path) -> dict[str, Any] | None:
    """Show the findings of the studies."""
    found = findings(data)
    return {"findings": found} if found else None


def section_missing(data: ReportData, _: Path) -> dict[str, Any]:
    """Show everything that was not measured."""
    found = problems(data)
    kinds = [(k, MEANINGS[k], by_reason(p for p in found if p.kind == k)) for k in KINDS]
    return {
        "kinds": [entry for entry in kinds if entry[2]],
        "most": CASES_SHOWN,
        "all_well": all_well(data),
    }


def section_reproduce(data: ReportData, _: Path) -> dict[str, Any]:
    """Show under which conditions the run was made, and how to make it again."""
    found = data.conditions
    revision = next((c for c in found if c.name == "git.revision"), None)
    measured = next((j for j in data.cases if j.measured), None)
    return {
        "places": [_place(machine, data) for machine in data.machines if data.environments],
        "git": [(_GIT[c.name], c.text) for c in found if c.name in _GIT],
        "revision": revision.values[0] if revision and len(revision.values) == 1 else None,
        "example": (measured or data.cases[0]).case.record if data.cases else None,
        "config": yaml.safe_dump(dict(data.config), sort_keys=False, allow_unicode=True)
        if data.config
        else None,
        "digest": data.data_digest,
        "warnings": case_warnings(data),
    }


SECTIONS: tuple[PageSection, ...] = (
    PageSection("ship", "What to ship?", section_ship),
    PageSection("open", "What is still open?", section_open),
    PageSection("compare", "How fast?", section_compare),
    PageSection("generation", "How fast is text?", section_generation),
    PageSection("cost", "What does it cost?", section_cost),
    PageSection("right", "Is it right?", section_right),
    PageSection("why", "Where does the time go?", section_why),
    PageSection("lengths", "Which way to pad?", section_lengths),
    PageSection("studies", "What else was asked?", section_studies),
    PageSection("missing", "What was not measured?", section_missing),
    PageSection("reproduce", "How was it measured?", section_reproduce),
)


def answers(data: ReportData) -> list[Answers]:
    """Return the recommendation and the best cases for every deployment."""
    found = []
    for deployment, members in groupby(data.cases, key=lambda judged: judged.deployment):
        recommendations = tuple(map(recommend, group_cases(members)))
        found.append(Answers(deployment, recommendations, tuple(best_cases(recommendations))))
    return found


def loss_agreement(data: ReportData) -> str | None:
    """Say how far the training losses of the modes are from eager's."""
    furthest = {mode: max(found, default=0.0) for mode, found in distances(data).items()}
    if not furthest:
        return None
    mode = max(furthest, key=lambda name: furthest[name])
    if furthest[mode] == 0:
        return "In every epoch, every mode has exactly eager's training loss."
    return (
        f"In no epoch is any mode's training loss further than {furthest[mode]:.1e} (relative)"
        f" from eager's; {mode} comes furthest."
    )


def case_warnings(data: ReportData) -> list[tuple[str, list[str]]]:
    """Return each warning with the cases it is about, the most frequent first.

    Warnings that differ in their figures alone are one, which tells how far those range.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for judged in data.cases:
        for warning in sentences.warnings(judged):
            alike = found.setdefault(_NUMBER.sub("#", warning), {})
            alike.setdefault(str(judged.case), []).append(warning)
    told = [(_ranging([*chain(*cases.values())]), list(cases)) for cases in found.values()]
    return sorted(told, key=lambda entry: (-len(entry[1]), entry[0]))


def warnings_of(judged: JudgedRecord) -> list[str]:
    """Return the warnings of a case; those of its runs that differ in their figures are one."""
    alike: dict[str, list[str]] = {}
    for warning in sentences.warnings(judged):
        alike.setdefault(_NUMBER.sub("#", warning), []).append(warning)
    return list(map(_ranging, alike.values()))


def _ranging(warnings: Sequence[str]) -> str:
    """Write warnings that differ in their figures as one: ``in 0.2 to 0.7 s of warm-up``."""
    figures = iter(zip(*map(_NUMBER.findall, warnings), strict=True))

    def write(_: re.Match[str]) -> str:
        seen = sorted(set(next(figures)), key=lambda figure: float(figure.replace(",", "")))
        return seen[0] if len(seen) == 1 else f"{seen[0]} to {seen[-1]}"

    return _NUMBER.sub(write, warnings[0])


def _figures(data: ReportData, category: str) -> SectionFigures:
    """Draw the figures of a category that there are data for, but the one of the answer."""
    entries = [e for e in FIGURES if e.category == category and e.name != "speed_up"]
    by_deployment = []
    for number, deployment in enumerate(data.deployments):
        part = data.about(deployment)
        if shown := inline_figures(entries, part, of="deployment", suffix=f"-{number}"):
            by_deployment.append((deployment, shown))
    return SectionFigures(inline_figures(entries, data, of="run"), by_deployment)


def _place(machine: Machine, data: ReportData) -> Place:
    """Gather the conditions of one machine: those of another are never mixed in."""
    found = data.conditions
    if len(data.machines) > 1:
        found = conditions(e for e in data.environments if machine_of(e) == machine)
    return Place(
        machine=machine,
        conditions=tuple(c for c in found if not is_version(c) and not c.name.startswith("git.")),
        versions=tuple(c for c in found if is_version(c)),
        differing=tuple(c.name for c in found if c.differs),
    )
