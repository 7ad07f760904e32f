"""Compare a run with an earlier one, another machine's, or another version's.

python -m torchmodes.report.comparison BASE [MORE ...] [--this results]

Exit code 0: nothing became slower; 1: a case became slower, or was measured there and is not here
(failed, wrong, unsupported, without effect); 2: the runs cannot be compared, or not all of their
records can be read, or the pages cannot be written.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from torchmodes.report.comparison.changes import Comparison, compare
from torchmodes.report.comparison.pages import render_brief, write_comparison
from torchmodes.report.comparison.runs import load_compared_run
from torchmodes.report.formatting import plural
from torchmodes.report.terminal import Terminal, TerminalMarkdown
from torchmodes.results.writing import print_anything

CANNOT_COMPARE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, write, and return the exit code."""
    options = _parser().parse_args(arguments)
    print_anything()
    try:
        return _compare(options)
    except (ValueError, OSError) as error:
        return _cannot(f"cannot compare: {error}")
    except Exception:  # noqa: BLE001 - Python's own exit code, 1, means that a case became slower
        return _cannot(traceback.format_exc())


def _compare(options: argparse.Namespace) -> int:
    base, *more = [load_compared_run(path) for path in options.base]
    this = load_compared_run(options.this)
    comparison = compare(base, this, minimum_effect=options.minimum_effect)
    terminal = Terminal()
    terminal.print(TerminalMarkdown(render_brief(comparison)))
    runs = [base, *more, this]
    history = sorted(runs, key=lambda run: run.finished_at)
    try:
        write_comparison(comparison, html=options.html, markdown=options.markdown, history=history)
    except OSError as error:
        pages = f"{options.html} and {options.markdown}"
        return _cannot(f"cannot write {pages}: {error.strerror}")
    terminal.print(f"The comparison: {options.html}", markup=False)
    if unreadable := [one for run in runs for one in run.unreadable]:
        count = plural(len(unreadable), "record")
        return _cannot(f"not all is compared, for want of {count}: {unreadable[0]}")
    return exit_code(comparison, count_eager=options.count_eager)


def _cannot(message: str) -> int:
    """Say on standard error why there is no verdict, and return the exit code for that."""
    Console(stderr=True, highlight=False).print(message, markup=False, soft_wrap=True)
    return CANNOT_COMPARE


def exit_code(comparison: Comparison, *, count_eager: bool = False) -> int:
    """Return 1 where something is worse than it was, else 0.

    A slower eager counts on request: for a machine that nobody else uses.
    """
    worse = bool(comparison.with_outcome("slower", "lost"))
    eager = any(change.verdict == "slower" for change in comparison.eager)
    return int(worse or (count_eager and eager))


def _parser() -> argparse.ArgumentParser:
    summary, _, codes = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m torchmodes.report.comparison",
        description=summary,
        epilog=codes.partition("\n\n")[2],
    )
    parser.add_argument(
        "base",
        nargs="+",
        type=Path,
        help="results folder to compare with; more of them join the trend of each case",
    )
    parser.add_argument("--this", type=Path, default=Path("results"), help="default: results")
    parser.add_argument("--html", type=Path, default=Path("reports/comparison.html"))
    parser.add_argument("--markdown", type=Path, default=Path("reports/comparison.md"))
    parser.add_argument(
        "--minimum-effect",
        type=_share,
        metavar="SHARE",
        help="relative change too small to matter; default: what the runs were measured with",
    )
    parser.add_argument(
        "--count-eager",
        action="store_true",
        help="exit 1 also where eager itself became slower (for a machine nobody else uses)",
    )
    return parser


def _share(text: str) -> float:
    """Read a share such as 0.01."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
