"""What changed between two profiled cases: operators or kernels, time by time, in one account.

The account adds up: the times that its rows gain sum to the difference of the profiled steps. Steps
and operators are the lean ones, recorded without stacks, because recording stacks slows some modes
more than others. Kernels are those of the full trace: stacks slow the host, not the GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from torchmodes.profiling.chrome import SPANS, short_name
from torchmodes.profiling.files import OVERVIEW, SUMMARY
from torchmodes.profiling.reading import CaseFile, OverviewFile, SummaryFile, read_content
from torchmodes.results.reading import read_table

UNCOVERED = "(Python and gaps)"
"""The row of the account for time in which no operator or kernel runs."""
NAMED = 3
_WORTH_NAMING = 0.02
_COMPARED = ("lean", "operators", "kernels")


@dataclass(frozen=True)
class Side:
    """One of the two profiles.

    Attributes
    ----------
    name
        The case's path.
    summary, overview
        As their files.
    operators, kernels
        As their files, per step.
    """

    name: str
    summary: Mapping[str, Any]
    overview: Mapping[str, Any]
    operators: pd.DataFrame
    kernels: pd.DataFrame

    @property
    def wall_s(self) -> float:
        """Seconds of a profiled step, recorded without stacks, shapes and memory."""
        return self.summary["lean"]["step_s"]


def read_side(directory: Path) -> Side:
    """Read a profile's directory.

    Raises
    ------
    ValueError
        When a file is not what it should be; the message names it.
    """
    summary = read_content(directory / SUMMARY, SummaryFile)
    case = summary.get("case")
    return Side(
        name=str(CaseFile(**case)) if case else _name(directory),
        summary=summary,
        overview=read_content(directory / OVERVIEW, OverviewFile),
        operators=read_table(
            directory / "operators.csv", texts=["operator"], numbers=["calls", "lean_self_s"]
        ),
        kernels=read_table(
            directory / "kernels.csv", texts=["kernel"], numbers=["calls", "total_s"]
        ),
    )


def diff_directories(a: Path, b: Path) -> dict[str, Any]:
    """Compare two profiles as `diff` does; where one cannot be read, say why."""
    try:
        return diff(read_side(a), read_side(b))
    except ValueError as error:
        sides = {"a": {"case": _name(a)}, "b": {"case": _name(b)}}
        return {"status": "unreadable", "reason": str(error), **sides}


def diff(a: Side, b: Side) -> dict[str, Any]:
    """Compare two profiles.

    Parameters
    ----------
    a, b
        The two; gained time is what `b` takes less than `a`.

    Returns
    -------
    dict
        JSON values: ``status``; ``a`` and ``b`` (case, seconds of a step with and without the
        profiler, distortion, launches); ``gained_s`` with and without the profiler; ``parts``;
        ``account`` (one row per operator, or kernel where both ran on a GPU, largest change
        first); ``account_gained_s``, the sum of its rows; ``sentence``; ``warning``, null unless
        the steps without the profiler differ the other way round.
    """
    sides = {"a": _described(a), "b": _described(b)}
    lacking = [f"{side.name}: {why}" for side in (a, b) if (why := _lacks(side))]
    if lacking:
        return {"status": "unsupported", "reason": "; ".join(lacking), **sides}
    account = account_of(a, b)
    return {
        "status": "ok",
        **sides,
        "gained_s": {
            "profiled": a.wall_s - b.wall_s,
            "unprofiled": a.summary["unprofiled_step_s"] - b.summary["unprofiled_step_s"],
        },
        "parts": {
            name: {"a_s": seconds, "b_s": b.summary["lean"]["parts"].get(name, 0.0)}
            for name, seconds in a.summary["lean"]["parts"].items()
        },
        "account": account.to_dict("records"),
        "account_gained_s": float(account["gained_s"].sum()),
        "sentence": sentence(a, b, account),
        "warning": _contradiction(a, b),
    }


def _lacks(side: Side) -> str | None:
    """Say what a profile lacks for being compared, or None."""
    summary = side.summary
    if summary["status"] != "ok":
        return str(summary.get("reason"))
    faults = summary.get("faults", {})
    missing = [f"no {part} ({faults[part]})" for part in _COMPARED if part in faults]
    if not missing and not (summary.get("lean") and summary.get("unprofiled_step_s")):
        return "its summary tells no time of a step"
    return ", ".join(missing) or None


def account_of(a: Side, b: Side) -> pd.DataFrame:
    """Join what two steps ran, by name.

    Columns: name, kind (``kernel``, ``operator`` or ``uncovered``), calls_a, calls_b, a_s, b_s,
    gained_s, per step. Times are the operators' own on the CPU, or the kernels' on a GPU. What is
    left of the step to either side is the row `UNCOVERED`; with streams that overlap it can be
    negative.
    """
    on_gpu = len(a.kernels) > 0 and len(b.kernels) > 0
    times = _kernel_times if on_gpu else _operator_times
    joined = times(a).merge(times(b), how="outer", on="name", suffixes=("_a", "_b")).fillna(0.0)
    joined = joined.rename(columns={"seconds_a": "a_s", "seconds_b": "b_s"})
    joined["kind"] = "kernel" if on_gpu else "operator"
    left = {"a_s": a.wall_s - joined["a_s"].sum(), "b_s": b.wall_s - joined["b_s"].sum()}
    joined.loc[UNCOVERED] = {"kind": "uncovered", "calls_a": 0.0, "calls_b": 0.0, **left}
    joined["gained_s"] = joined["a_s"] - joined["b_s"]
    order = joined["gained_s"].abs().sort_values(ascending=False, kind="stable").index
    table = joined.loc[order].rename_axis("name").reset_index()
    return table[["name", "kind", "calls_a", "calls_b", "a_s", "b_s", "gained_s"]]


def sentence(a: Side, b: Side, account: pd.DataFrame) -> str:
    """Say in one sentence what changed from one profile to the other."""
    change = (
        f"A profiled step of {b.name} takes {_ms(b.wall_s)},"
        f" {_ms(abs(a.wall_s - b.wall_s))} {'less' if b.wall_s < a.wall_s else 'more'}"
        f" than one of {a.name} ({_ms(a.wall_s)})"
    )
    uncovered = account[account["kind"] == "uncovered"].iloc[0]
    # A GPU whose kernels fill little of a step waits for its host: they show all the same.
    on_gpu = (account["kind"] == "kernel").any()
    sides = () if on_gpu else ((a, "a_s"), (b, "b_s"))
    blind = [side.name for side, key in sides if uncovered[key] > 0.95 * side.wall_s]
    if blind:
        run = "runs" if len(blind) == 1 else "run"
        return f"{change}; {' and '.join(blind)} {run} outside PyTorch, where no operator shows."
    ran = account[account["kind"] != "uncovered"]
    gone, new = ran[ran["calls_b"] == 0], ran[ran["calls_a"] == 0]
    both = ran[(ran["calls_a"] > 0) & (ran["calls_b"] > 0)]
    worth = _WORTH_NAMING * max(a.wall_s, b.wall_s)
    changes = []
    if gone["a_s"].sum() > worth:
        changes.append(f"{_listed(gone, 'a_s')} ({_ms(gone['a_s'].sum())}) no longer run")
    if new["b_s"].sum() > worth:
        changes.append(f"{_listed(new, 'b_s')} ({_ms(new['b_s'].sum())}) run instead")
    moved = both[both["gained_s"].abs() > worth].head(NAMED)
    changes += [
        f"{row['name']} {_gains(row['gained_s'])}"
        + (
            f" in {row['calls_b']:g} calls instead of {row['calls_a']:g}"
            if row["calls_a"] != row["calls_b"]
            else ""
        )
        for _, row in moved.iterrows()
    ]
    if abs(uncovered["gained_s"]) > worth:
        changes.append(f"Python and gaps {_gains(uncovered['gained_s'], plural=True)}")
    return f"{change}: {'; '.join(changes) or 'no operator changes by 2 % of a step'}."


def _contradiction(a: Side, b: Side) -> str | None:
    plain = a.summary["unprofiled_step_s"] - b.summary["unprofiled_step_s"]
    if (a.wall_s - b.wall_s) * plain >= 0:
        return None
    return (
        f"Without the profiler it is the other way round: {b.name} takes {_ms(abs(plain))}"
        f" {'less' if plain > 0 else 'more'}. The profiler slowed the two differently, or the"
        " machine changed between them; trust the shares, not the difference."
    )


def _name(directory: Path) -> str:
    """Name the case of a profile's directory: its path below ``results/profile``."""
    return "/".join(directory.parts[-5:])


def _described(side: Side) -> dict[str, Any]:
    launches = side.overview.get("launches") or {}
    lean = side.summary.get("lean") or {}
    return {
        "case": side.name,
        "profiled_step_s": lean.get("step_s"),
        "unprofiled_step_s": side.summary.get("unprofiled_step_s"),
        "distortion": lean.get("distortion"),
        "launches": launches.get("launches"),
        "kernels": launches.get("kernels"),
    }


def _operator_times(side: Side) -> pd.DataFrame:
    table = side.operators
    # Spans of Python hold no work of their own: it is counted as what is left of the step.
    table = table[~table["operator"].str.startswith(SPANS)]
    named = table.assign(
        name=table["operator"].map(short_name), seconds=table["lean_self_s"], calls=table["calls"]
    )
    return named.groupby("name")[["calls", "seconds"]].sum()


def _kernel_times(side: Side) -> pd.DataFrame:
    named = side.kernels.assign(name=side.kernels["kernel"], seconds=side.kernels["total_s"])
    return named.groupby("name")[["calls", "seconds"]].sum()


def _listed(rows: pd.DataFrame, by: str) -> str:
    names = rows.sort_values(by, ascending=False)["name"].tolist()
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _gains(seconds: float, *, plural: bool = False) -> str:
    verb = "take" if plural else "takes"
    return f"{verb} {_ms(abs(seconds))} {'less' if seconds > 0 else 'more'}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"
