"""The page of models that were built and run: ``docs/models.md``.

python -m tools.models      builds and runs each model of config/models.yaml once: some minutes
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from torchmodes.config.models import FAMILIES, Model
from torchmodes.planning.provenance import installed
from torchmodes.results.writing import write_atomically
from torchmodes.workloads.models.check import Checked, check_alone, engineering, read_config

COLUMNS = (
    "| model | item | inputs | output | parameters | FLOP | status |",
    "|---|---|---|---|---|---|---|",
)
LIST = Path("config/models.yaml")
PAGE = Path("docs/models.md")
KINDS = "## One of each kind, in five modes"
"""The title of the part of the page that `tools.kinds` writes, and this leaves as it is."""
HEAD = """\
<!-- Made by `python -m tools.models` of config/models.yaml. -->

# Models that were built and run

Any model of a family can be configured ([your own model](own-model.md)); these were tried, some of
each kind. Each was built with random weights and run once in eager on one item, on a CPU, without a
network; the status is `ok` or what was wrong. Their configurations are in
[config/models.yaml](../config/models.yaml), and `make check ARGS='--configfile config/models.yaml'`
does the same on the terminal.

One line measures a model, such as `make try MODEL=timm/convnext_tiny`.
"""


def models_page(models: dict[str, Model], checked: Iterable[Checked]) -> str:
    """Write the page, a table for each family, as Markdown.

    Parameters
    ----------
    models
        Sections of the configuration, by name.
    checked
        What came of each of them, in any order.
    """
    found = {one.name: one for one in checked}
    failed = sum(one.error is not None for one in found.values())
    parts = [f"{HEAD}\n{len(found)} models, of which {failed or 'none'} failed."]
    for family in FAMILIES:
        names = [name for name, model in models.items() if model.family == family]
        if not names:
            continue
        packages = installed("torch", *FAMILIES[family].packages)
        versions = ", ".join(f"{package} {version}" for package, version in packages.items())
        rows = [_row(models[name], found[name]) for name in names]
        parts.append("\n".join([f"## {family}\n\nWith {versions}.\n", *COLUMNS, *rows]))
    return "\n\n".join(parts) + "\n"


def _row(model: Model, checked: Checked) -> str:
    cells = (
        named(model, checked.name),
        checked.item or "–",
        checked.inputs or "–",
        checked.output or "–",
        engineering(checked.parameters),
        engineering(checked.flops),
        (checked.error or "ok").replace("|", "\\|"),
    )
    return "| " + " | ".join(cells) + " |"


def named(model: Model, name: str) -> str:
    """Return what the family calls it, with its head and part where they are not the usual ones."""
    told = getattr(model, model.named_by) if model.named_by else name
    extra = [getattr(model, key, None) for key in ("head", "part")]
    words = [word for word in extra if word not in (None, "base", "step")]
    return f"`{told}`" + (f" ({', '.join(words)})" if words else "")


def main() -> None:
    """Check every model of the list, each in a process of its own, and write the page."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    config = read_config([LIST])
    console = Console(highlight=False)
    checked = []
    for name in config.models:
        checked.append(check_alone(name, config, device="cpu"))
        console.print(f"{name}: {checked[-1].error or 'ok'}", markup=False)
    kinds = "".join(PAGE.read_text(encoding="utf-8").partition(KINDS)[1:])
    page = models_page(config.models, checked)
    write_atomically(PAGE, f"{page}\n{kinds}" if kinds else page)


if __name__ == "__main__":
    main()
