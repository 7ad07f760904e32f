"""README's table of answers, as the report makes it, from the results of a finished run.

python -m tools.answers
"""

from __future__ import annotations

import re
from pathlib import Path

from torchmodes.planning.cases import find_records
from torchmodes.report.loading import load_report_data
from torchmodes.report.markdown import render_answers

README = Path(__file__).parents[1] / "README.md"
TABLE = re.compile(r"(<!-- answers: .*? -->\n).*?(\n<!-- end of answers -->)", re.DOTALL)


def with_answers(text: str, table: str) -> str:
    """Return a page with another table between its marks.

    Raises
    ------
    ValueError
        When the page has no such place.
    """
    if not TABLE.search(text):
        raise ValueError("README.md: no <!-- answers: … --> and <!-- end of answers -->")
    return TABLE.sub(lambda found: f"{found[1]}{table}{found[2]}", text)


def main() -> None:
    """Write the table into README.md."""
    table = render_answers(load_report_data(find_records()))
    README.write_text(with_answers(README.read_text(encoding="utf-8"), table), encoding="utf-8")


if __name__ == "__main__":
    main()
