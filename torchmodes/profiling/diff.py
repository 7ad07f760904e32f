"""What changed between two profiled cases: operators or kernels, time by time, in one account.

The account adds up: the times that its rows gain sum to the difference of the profiled steps. Steps
and operators are the lean ones, recorded without stacks, because recording stacks slows some modes
more than others. Kernels are those of the full trace: stacks slow the host, not the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from torchmodes.profiling.chrome import SPANS, short_name
from torchmodes.profiling.files import OVERVIEW, SUMMARY
from torchmodes.profiling.operator_groups import by_group
from torchmodes.profiling.reading import CaseProfile

UNCOVERED = "(Python and gaps)"
"""The row of the account for time in which no operator or kernel runs."""
NAMED = 3
CONTRADICTS = 1.3
"""How many times a difference may be that without the profiler, or it the other."""
_WORTH_NAMING = 0.02
_FILES = (SUMMARY, OVERVIEW, "operators.csv", "kernels.csv")
_COMPARED = ("lean", "operators", "kernels")


def diff_profiles(a: CaseProfile, b: CaseProfile) -> dict[str, Any]:
    """Compare two profiles as `diff` does; where one cannot be read, say why."""
    if unread := [reason for profile in (a, b) for reason in _unread(profile)]:
        sides = {"a": {"case": str(a.case)}, "b": {"case": str(b.case)}}
        return {"status": "unreadable", "reason": "; ".join(dict.fromkeys(unread)), **sides}
    return diff(a, b)


def _unread(profile: CaseProfile) -> Iterator[str]:
    """Say which of the files that are compared cannot be read."""
    for name in _FILES:
        if name in profile.broken:
            yield profile.broken[name]
        elif not (profile.folder / name).exists():
            yield f"{profile.folder / name} is missing"


def diff(a: CaseProfile, b: CaseProfile) -> dict[str, Any]:
    """Compare two profiles; gained time is what `b` takes less than `a`.

    It returns JSON values: ``status``; ``a`` and ``b`` (case, seconds of a step with and without
    the profiler, distortion, launches); ``gained_s`` with and without the profiler; ``parts``;
    ``account`` (one row per operator, or kernel where both ran on a GPU, largest change first);
    ``account_gained_s``, the sum of its rows; ``groups``, the account by what operators are for;
    ``layers``, by module where both sides tell them; ``sentence``; ``warning``, null unless the
    steps without the profiler contradict.
    """
    sides = {"a": _described(a), "b": _described(b)}
    lacking = [f"{side.case}: {why}" for side in (a, b) if (why := _lacks(side))]
    if lacking:
        return {"status": "unsupported", "reason": "; ".join(lacking), **sides}
    account = account_of(a, b)
    return {
        "status": "ok",
        **sides,
        "gained_s": {
            "profiled": _wall_s(a) - _wall_s(b),
            "unprofiled": a.summary["unprofiled_step_s"] - b.summary["unprofiled_step_s"],
        },
        "parts": {
            name: {"a_s": seconds, "b_s": b.summary["lean"]["parts"].get(name, 0.0)}
            for name, seconds in a.summary["lean"]["parts"].items()
        },
        "account": account.to_dict("records"),
        "account_gained_s": float(account["gained_s"].sum()),
        "groups": _by_change(by_group(account)).to_dict("records"),
        "layers": compare_layers(a, b).to_dict("records"),
        "sentence": sentence(str(a.case), str(b.case), comparable(account)),
        "warning": _contradiction(a, b),
    }


def _lacks(profile: CaseProfile) -> str | None:
    """Say what a profile lacks for being compared, or None."""
    summary = profile.summary
    if summary["status"] != "ok":
        return str(summary.get("reason"))
    faults = summary.get("faults", {})
    missing = [f"no {part} ({faults[part]})" for part in _COMPARED if part in faults]
    if not missing and not (summary.get("lean") and summary.get("unprofiled_step_s")):
        return "its summary tells no time of a step"
    return ", ".join(missing) or None


def compare_times(a: CaseProfile, b: CaseProfile) -> pd.DataFrame:
    """Join what two steps ran, by name, the largest change first.

    Columns: name, kind (``kernel`` or ``operator``), calls_a, calls_b, a_s, b_s, gained_s, per
    step. Times are the operators' own on the CPU, or the kernels' where both ran on a GPU.
    """
    on_gpu = all(len(profile.tables.get("kernels", ())) for profile in (a, b))
    times = kernel_times if on_gpu else operator_times
    joined = times(a).merge(times(b), how="outer", on="name", suffixes=("_a", "_b")).fillna(0.0)
    joined = joined.rename(columns={"seconds_a": "a_s", "seconds_b": "b_s"}).reset_index()
    joined["kind"] = "kernel" if on_gpu else "operator"
    return _by_change(joined)


def comparable(account: pd.DataFrame) -> pd.DataFrame:
    """Return the account, or where the sides share no operator, its sums by group.

    Another engine has names of its own for all that it runs.
    """
    ran = account[account["kind"] != "uncovered"]
    apart = not ((ran["calls_a"] > 0) & (ran["calls_b"] > 0)).any()
    both_told = (ran["calls_a"] > 0).any() and (ran["calls_b"] > 0).any()
    return _by_change(by_group(account)) if apart and both_told else account


def compare_layers(a: CaseProfile, b: CaseProfile) -> pd.DataFrame:
    """Join the times of modules that both sides tell, submodules included, largest change first.

    Columns: name, a_s, b_s, gained_s, per step. They do not add up: modules hold each other.
    """
    columns = ["layer", "total_s"]
    empty = pd.DataFrame(columns=columns)
    one, other = (profile.tables.get("layers", empty)[columns] for profile in (a, b))
    joined = one.merge(other, on="layer", suffixes=("_a", "_b"))
    return _by_change(
        joined.rename(columns={"layer": "name", "total_s_a": "a_s", "total_s_b": "b_s"})
    )


def account_of(a: CaseProfile, b: CaseProfile) -> pd.DataFrame:
    """Return `compare_times` with what is left of the step to either side, the row `UNCOVERED`.

    With streams that overlap it can be negative.
    """
    joined = compare_times(a, b)
    left = {"a_s": _wall_s(a) - joined["a_s"].sum(), "b_s": _wall_s(b) - joined["b_s"].sum()}
    rest = {"name": UNCOVERED, "kind": "uncovered", "calls_a": 0.0, "calls_b": 0.0, **left}
    return _by_change(pd.concat([joined, pd.DataFrame([rest])], ignore_index=True))


def _by_change(table: pd.DataFrame) -> pd.DataFrame:
    table["gained_s"] = table["a_s"] - table["b_s"]
    order = table["gained_s"].abs().sort_values(ascending=False, kind="stable").index
    columns = ["name", "kind", "calls_a", "calls_b", "a_s", "b_s", "gained_s"]
    known = [column for column in columns if column in table]
    return table.loc[order, known].reset_index(drop=True)


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms"


def sentence(a: str, b: str, account: pd.DataFrame, *, write: Callable[[float], str] = _ms) -> str:
    """Say in one sentence what changed from one case to the other, by their names.

    Each side's times in the account (as of `account_of`) sum to its step; `write` writes seconds.
    """
    wall_a, wall_b = account["a_s"].sum(), account["b_s"].sum()
    change = (
        f"A step of {b} takes {write(wall_b)}, {write(abs(wall_a - wall_b))}"
        f" {'less' if wall_b < wall_a else 'more'} than one of {a} ({write(wall_a)})"
    )
    uncovered = account[account["kind"] == "uncovered"].iloc[0]
    # A GPU whose kernels fill little of a step waits for its host: they show all the same.
    on_gpu = (account["kind"] == "kernel").any()
    sides = () if on_gpu else ((a, "a_s", wall_a), (b, "b_s", wall_b))
    blind = [side for side, key, wall in sides if uncovered[key] > 0.95 * wall]
    if blind:
        run = "runs" if len(blind) == 1 else "run"
        return f"{change}; {' and '.join(blind)} {run} outside PyTorch, where no operator shows."
    ran = account[account["kind"] != "uncovered"]
    gone, new = ran[ran["calls_b"] == 0], ran[ran["calls_a"] == 0]
    both = ran[(ran["calls_a"] > 0) & (ran["calls_b"] > 0)]
    worth = _WORTH_NAMING * max(wall_a, wall_b)
    changes = []
    if gone["a_s"].sum() > worth:
        runs = "runs" if len(gone) == 1 else "run"
        changes.append(f"{_listed(gone, 'a_s')} ({write(gone['a_s'].sum())}) no longer {runs}")
    if new["b_s"].sum() > worth:
        runs = "runs" if len(new) == 1 else "run"
        changes.append(f"{_listed(new, 'b_s')} ({write(new['b_s'].sum())}) {runs} instead")
    moved = both[both["gained_s"].abs() > worth].head(NAMED)
    changes += [
        f"{row['name']} takes {_gains(row['gained_s'], write)}"
        + (
            f" in {row['calls_b']:g} call{'' if row['calls_b'] == 1 else 's'}"
            f" instead of {row['calls_a']:g}"
            if row["calls_a"] != row["calls_b"] and row["kind"] != "group"
            else ""
        )
        for _, row in moved.iterrows()
    ]
    if abs(uncovered["gained_s"]) > worth:
        changes.append(f"Python and gaps take {_gains(uncovered['gained_s'], write)}")
    return f"{change}: {'; '.join(changes) or 'no operator changes by 2 % of a step'}."


def _contradiction(a: CaseProfile, b: CaseProfile) -> str | None:
    plain = a.summary["unprofiled_step_s"] - b.summary["unprofiled_step_s"]
    profiled = _wall_s(a) - _wall_s(b)
    if profiled * plain >= 0:
        smaller, larger = sorted((abs(plain), abs(profiled)))
        if larger <= CONTRADICTS * smaller:
            return None
        return (
            f"Without the profiler the difference is {_ms(abs(plain))}, not {_ms(abs(profiled))}:"
            " trust the shares, not the times."
        )
    return (
        f"Without the profiler it is the other way round: {b.case} takes {_ms(abs(plain))}"
        f" {'less' if plain > 0 else 'more'}. The profiler slowed the two differently, or the"
        " machine changed between them; trust the shares, not the difference."
    )


def _wall_s(profile: CaseProfile) -> float:
    """Return the seconds of a profiled step, recorded without stacks, shapes and memory."""
    return profile.summary["lean"]["step_s"]


def _described(profile: CaseProfile) -> dict[str, Any]:
    launches = profile.overview.get("launches") or {}
    lean = profile.summary.get("lean") or {}
    return {
        "case": str(profile.case),
        "profiled_step_s": lean.get("step_s"),
        "unprofiled_step_s": profile.summary.get("unprofiled_step_s"),
        "distortion": lean.get("distortion"),
        "launches": launches.get("launches"),
        "kernels": launches.get("kernels"),
    }


def operator_times(profile: CaseProfile) -> pd.DataFrame:
    """Return calls and own seconds in a step of each operator, by its short name."""
    table = profile.tables["operators"]
    # Spans of Python hold no work of their own: it is counted as what is left of the step.
    table = table[~table["operator"].str.startswith(SPANS)]
    named = table.assign(name=table["operator"].map(short_name), seconds=table["lean_self_s"])
    return named.groupby("name")[["calls", "seconds"]].sum()


def kernel_times(profile: CaseProfile) -> pd.DataFrame:
    """Return calls and seconds in a step of each kernel."""
    table = profile.tables["kernels"]
    named = table.assign(name=table["kernel"], seconds=table["total_s"])
    return named.groupby("name")[["calls", "seconds"]].sum()


def _listed(rows: pd.DataFrame, by: str) -> str:
    names = rows.sort_values(by, ascending=False)["name"].tolist()
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _gains(seconds: float, write: Callable[[float], str]) -> str:
    return f"{write(abs(seconds))} {'less' if seconds > 0 else 'more'}"
