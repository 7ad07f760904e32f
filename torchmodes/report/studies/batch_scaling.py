"""Batch scaling: from which batch size on more throughput is bought with latency alone."""

from __future__ import annotations

from matplotlib.figure import Figure

from torchmodes.report.figures.batches import BatchLine, draw_lines
from torchmodes.report.formatting import duration, listing, percent, rate
from torchmodes.report.studies.rows import Told
from torchmodes.studies.catalogue import BatchPoint, BatchScaling, Series


def tell(result: BatchScaling) -> Told:
    """Tell from which batch size on more throughput is bought with latency alone."""
    rows, knees, rising = [], [], []
    for series in result.series:
        name = f"{series.mode} of {series.model} ({series.precision})"
        rows += [
            (
                name,
                f"{point.batch_size:,}",
                duration(point.latency_s),
                rate(point.throughput_per_s),
                "knee"
                if point.batch_size == series.knee
                else point.reason or point.no_verdict or "",
            )
            for point in series.points
        ]
        points = _measured(series)
        knee = next((point for point in points if point.batch_size == series.knee), None)
        if knee is None:
            continue
        where = f"at batch {series.knee:,} ({duration(knee.latency_s)} a call)"
        if knee is max(points, key=lambda point: point.batch_size):
            rising.append(f"{name} {where}")
        else:
            share = (knee.throughput_per_s or 0) / max(p.throughput_per_s or 0 for p in points)
            knees.append(f"{name} has {percent(share)} of its best throughput {where}")
    sentences = []
    if knees:
        sentences.append(f"{listing(knees)}; a larger batch adds latency and little else.")
    if rising:
        sentences.append(
            f"Throughput still rose up to the largest batch measured: {listing(rising)}."
        )
    if doubt := next((p.no_verdict for s in result.series for p in s.points if p.no_verdict), None):
        sentences.append(f"Of the batch sizes of some cases nothing is concluded: {doubt}.")
    text = " ".join(sentences) or "No case was measured at two batch sizes or more."
    return text, ("Case", "Batch", "Latency", "Throughput", ""), tuple(rows)


def draw(result: BatchScaling) -> Figure | None:
    """Draw latency and throughput against batch size, a pair of panels for each model."""
    panels: dict[str, list[BatchLine]] = {}
    for series in sorted(result.series, key=lambda one: (one.mode != "eager", one.mode)):
        if points := _measured(series):
            title = f"{series.model} · {series.task} · {series.device}"
            line = BatchLine(
                mode=series.mode,
                name=series.mode,
                sizes=[point.batch_size for point in points],
                latencies_s=[point.latency_s or 0 for point in points],
                rates=[point.throughput_per_s or 0 for point in points],
                knee=series.knee,
            )
            panels.setdefault(title, []).append(line)
    return draw_lines(panels, result.series[0].item) if panels else None


def _measured(series: Series) -> list[BatchPoint]:
    return [point for point in series.points if point.latency_s is not None]
