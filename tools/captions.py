"""Captions for Snakemake's own report, from where figures and studies are registered.

python -m tools.captions
"""

from __future__ import annotations

from pathlib import Path

from torchmodes.report.figures import FIGURES

FOLDER = Path(__file__).parents[1] / "rules/captions"


def captions() -> dict[str, str]:
    """Return the text of each caption's file by its name."""
    return {f"{entry.name}.rst": f"{entry.caption}\n" for entry in FIGURES}


def main() -> None:
    """Write the captions."""
    for name, text in captions().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
