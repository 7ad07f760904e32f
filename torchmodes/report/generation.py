"""What the report shows of generating text: how long it takes, how much of it, whether it is right.

Three tables of a few columns each, all of the same cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torchmodes.report.case_tables import CaseColumn, figure_column
from torchmodes.report.data import ReportData
from torchmodes.report.formatting import NOTHING, duration, percent, plural, rate, size, speed_up
from torchmodes.report.hardware import roof_of_case
from torchmodes.report.tables import recorded
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import Generation


@dataclass(frozen=True)
class GenerationTable:
    """A table of the cases that generate text; its columns say themselves what they mean."""

    title: str
    columns: tuple[CaseColumn, ...]

    @property
    def told(self) -> str:
        """What its heads mean."""
        return "".join(f" {column.head}: {column.meaning}." for column in self.columns)


def generation_tables(cases: Sequence[JudgedRecord], data: ReportData) -> list[GenerationTable]:
    """Return the tables of cases that generated text, without the columns that nothing fills."""
    tables = {
        "How long a text takes": _times(),
        "How many tokens a second": _rates(data),
        "Whether the tokens are eager's": _tokens(),
    }
    return [
        GenerationTable(title, tuple(column for column in columns if any(map(column.value, cases))))
        for title, columns in tables.items()
    ]


def _told(judged: JudgedRecord) -> Generation:
    assert judged.record.generation is not None
    return judged.record.generation


def _times() -> Iterable[CaseColumn]:
    busy = "none where the machine was too busy for a verdict"
    prompt = f"the prompt, with its speed-up over eager ({busy})"
    yield _timed("First token", "generation.prefill", prompt)
    yield _timed("One step", "statistics", "in the middle of a text")
    yield _timed("Whole text", "generation.whole", "prompt and all new tokens")
    between = recorded("generation.between_tokens.p50_s")
    yield CaseColumn("Between tokens", _between, between, "p50, p90 and p99 within whole texts")


def _timed(head: str, path: str, meaning: str) -> CaseColumn:
    find = recorded(path)

    def text(judged: JudgedRecord) -> str:
        found = find(judged)
        if found is None:
            return NOTHING
        own = duration(found.candidate.median_s)
        return own if judged.no_verdict is not None else f"{own} · {speed_up(found.speed_up)}"

    return CaseColumn(head, text, recorded(f"{path}.candidate.median_s"), meaning)


def _between(judged: JudgedRecord) -> str:
    found = _told(judged).between_tokens
    if found is None:
        return NOTHING
    return ", ".join(map(duration, (found.p50_s, found.p90_s, found.p99_s)))


def _rates(data: ReportData) -> Iterable[CaseColumn]:
    one = "of one text, prompt included"
    yield figure_column("Tokens/s", recorded("generation.tokens_per_s"), rate, one)
    yield figure_column("In total", _in_total, rate, "of all texts of the batch")
    least = "bytes of weights and cache that a step reads at the least"
    yield figure_column("Read a step", _bytes_per_step, size, least)
    yield figure_column(
        "Of the bandwidth",
        lambda judged: _bandwidth_share(judged, data),
        percent,
        "those over the step's time, as a share of what this machine's memory carried",
    )


def _in_total(judged: JudgedRecord) -> float | None:
    of_one = _told(judged).tokens_per_s
    return None if of_one is None else of_one * judged.case.batch_size


def _bytes_per_step(judged: JudgedRecord) -> int | None:
    told = _told(judged)
    return None if told.weight_bytes is None else told.weight_bytes + told.cache_bytes


def _bandwidth_share(judged: JudgedRecord, data: ReportData) -> float | None:
    # Of any precision: memory carries bytes.
    read, roof = _bytes_per_step(judged), roof_of_case(judged, data, precision="fp32")
    if read is None or roof is None or not judged.measured:
        return None
    return read / judged.statistics.candidate.median_s / roof.bytes_per_s


def _tokens() -> Iterable[CaseColumn]:
    yield CaseColumn("Tokens", _whose, lambda _: True, "of every prompt that was compared")
    where = "where a text is not eager's"
    yield figure_column("First that differs", recorded("generation.divergence"), str, where)
    yield CaseColumn(
        "Prompt + new",
        _decoded,
        lambda _: True,
        "tokens, the kind of cache, and the positions at which TorchDynamo compiled",
    )
    yield CaseColumn(
        "Parts of it",
        _parts,
        recorded("generation.accounted"),
        "prompt and steps, each timed alone right after a whole text, as a share of its time",
    )


def _whose(judged: JudgedRecord) -> str:
    told = _told(judged)
    but = "" if told.divergence is None else "but not "
    return f"eager's, {but}in all {plural(told.sequences, 'text')}"


def _parts(judged: JudgedRecord) -> str:
    share, uncertain = _told(judged).accounted, _told(judged).accounted_half_width
    if share is None or uncertain is None:
        return percent(share)
    return f"{percent(share)} ± {percent(share * uncertain)}"


def _decoded(judged: JudgedRecord) -> str:
    told = _told(judged)
    at = f", compiled at {', '.join(map(str, told.compiled_at))}" if told.compiled_at else ""
    return f"{told.prompt_length} + {told.new_tokens}, {told.cache} cache{at}"
