"""The part of ``docs/models.md`` on one model of each kind: how its modes came out.

python -m tools.kinds       reads the records of a run of config/kinds.yaml, below results/
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.models import KINDS, PAGE, named
from torchmodes.config.run import Config
from torchmodes.planning.cases import find_records
from torchmodes.results.records import Record, read_records
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.models.check import read_config

LIST = Path("config/kinds.yaml")
HEAD = f"""{KINDS}

One model of each kind, small and with random weights, was measured in five modes. `ok` says that
its output agreed with eager's on every set of inputs; for any other status the reason is below.
Times of so short a run mean nothing and are left out. A detector with random weights scores all
boxes alike, and few or none of them can be matched
([how](own-model.md#a-model-of-torchvision-or-timm)): its `ok` says that a mode runs it, and next to
nothing about what it returns. This part is made by `python -m tools.kinds` after

```sh long
snakemake --cores 4 --configfile config/kinds.yaml
```
"""


def kinds_part(config: Config, records: Sequence[Record]) -> str:
    """Write the table of kinds and modes, and below it each reason once, as Markdown.

    Raises
    ------
    ValueError
        When a case of the configuration has no record.
    """
    (grid,) = config.benchmark
    found = {(record.case.model, record.case.mode): record for record in records}
    wanted = [(model, mode) for model in grid.models for mode in grid.modes]
    if missing := [" in ".join(pair) for pair in wanted if pair not in found]:
        raise ValueError(
            f"no record of {', '.join(missing)}: run snakemake with --configfile {LIST}"
        )
    rows = [f"| kind | model | {' | '.join(grid.modes)} |", "|---|---|" + "---|" * len(grid.modes)]
    for name in grid.models:
        model = config.models[name]
        cells = [name, f"{model.family} {named(model, name)}"]
        cells += [found[name, mode].status for mode in grid.modes]
        rows.append("| " + " | ".join(cells) + " |")
    told: dict[str, list[str]] = {}
    for model, mode in wanted:
        record = found[model, mode]
        if record.reason is not None and record.status != "ok":
            line = f"{record.status}: {record.reason} → {record.remedy}"
            told.setdefault(line, []).append(f"{model} in {mode}")
    reasons = [f"- {', '.join(cases)}: {line}" for line, cases in told.items()]
    return "\n".join([HEAD, *rows, "", *reasons]) + "\n"


def main() -> None:
    """Put the part at the end of the page, in the place of an older one."""
    page = PAGE.read_text(encoding="utf-8").partition(KINDS)[0]
    part = kinds_part(read_config([LIST]), read_records(find_records()))
    write_atomically(PAGE, page.rstrip() + "\n\n" + part)


if __name__ == "__main__":
    main()
