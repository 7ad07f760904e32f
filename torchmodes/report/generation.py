"""What the report shows of generating text: the first token, the next ones, and a whole text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torchmodes.profiling.roofline import roof_of
from torchmodes.report.data import ReportData
from torchmodes.report.verdicts import JudgedRecord
from torchmodes.results.records import Generation


@dataclass(frozen=True)
class GeneratedCase:
    """A case that generates text, with what follows from its figures.

    Attributes
    ----------
    told
        The part of its record.
    bandwidth_share
        Bytes of weights and cache that a step reads at the least, over its time and over what this
        machine's memory was measured to carry; None where either is not known.
    """

    judged: JudgedRecord
    told: Generation
    bandwidth_share: float | None

    @property
    def bytes_per_step(self) -> int | None:
        """Bytes of weights and cache that a step reads at the least."""
        weights = self.told.weight_bytes
        return None if weights is None else weights + self.told.cache_bytes

    @property
    def total_tokens_per_s(self) -> float | None:
        """New tokens a second of all sequences of the batch, of a whole generation."""
        of_one = self.told.tokens_per_s
        return None if of_one is None else of_one * self.judged.case.batch_size

    @property
    def tokens(self) -> str:
        """Whether its tokens are eager's."""
        if self.told.divergence is None:
            return f"eager's, in all {self.told.sequences} texts"
        return str(self.told.divergence)


def generated(cases: Sequence[JudgedRecord], data: ReportData) -> list[GeneratedCase]:
    """Return the cases that generated text, those that did it wrong included."""
    return [
        GeneratedCase(judged, told, _bandwidth_share(judged, told, data))
        for judged in cases
        if (told := judged.record.generation) is not None
    ]


def _bandwidth_share(judged: JudgedRecord, told: Generation, data: ReportData) -> float | None:
    machine = data.roofline.get("machines", {}).get(judged.case.device, {})
    # Of any precision: memory carries bytes.
    roof, statistics = roof_of(machine, "fp32"), judged.record.statistics
    if roof is None or statistics is None or not judged.measured or len(data.machines) != 1:
        return None
    if told.weight_bytes is None:
        return None
    read = told.weight_bytes + told.cache_bytes
    return read / statistics.candidate.median_s / roof.bytes_per_s
