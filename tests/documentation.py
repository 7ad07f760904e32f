"""The pages for people, as their tests see them: fences, the commands in them, links, headings.

A fence of commands is executed by the tests, unless a word after its language says otherwise:

    ```sh               executed in a copy of a finished smoke run
    ```sh long          takes minutes, or does not end: planned (snakemake --dry-run, make -n)
    ```sh gpu           not executed; so are those of `cluster`, `container`, `conda`, `network`
                        and `install` (changes the machine or the environment)
    ```yaml mine.yaml   a file that the commands of the page read
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOT_EXECUTED = {"gpu", "cluster", "container", "conda", "network", "install"}
MARKS = NOT_EXECUTED | {"long"}
COMMANDS = {"sh", "bash", "console"}
FENCE = re.compile(r"^( *)```(\S*)([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def pages() -> list[Path]:
    """Return every page, relative to the root: not what pytest writes into a hidden folder."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")]
    return sorted({path.relative_to(ROOT) for path in found})


@dataclass(frozen=True)
class Fence:
    """A fenced block: where it stands, its language, the words behind it, its text."""

    place: str
    language: str
    words: tuple[str, ...]
    text: str

    @property
    def file(self) -> str | None:
        """The file that the block shows."""
        return next((word for word in self.words if "." in word), None)

    @property
    def commands(self) -> list[str]:
        """The commands, one a line as one would type them; of a console, those behind a prompt."""
        if self.language not in COMMANDS:
            return []
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        stripped = (re.sub(r"(^|\s+)#\s.*$", "", line).strip() for line in lines)
        return [line for line in stripped if line]


def fences(page: Path) -> Iterator[Fence]:
    """Yield the fences of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        yield Fence(f"{page}:{line}", match[2], tuple(match[3].split()), match[4])


def prose(page: Path) -> str:
    """Return a page without its code, in which brackets are not links."""
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    return re.sub(r"`[^`\n]*`", "``", text)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        kept = "".join(c for c in heading.strip().lower() if c.isalnum() or c in " -_")
        anchor = kept.replace(" ", "-")
        number = 0
        while (numbered := f"{anchor}-{number}" if number else anchor) in found:
            number += 1
        found.add(numbered)
    return found
