"""Read a CSV table and check it: each fault is one sentence with file, line, column and remedy.

Python's csv reader is used and not pandas': it knows the line of the file on which a record begins
(quoted fields may span several), notices short records, and takes nothing for an index.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from torchmodes.faults import meant

MINIMUM_ROWS = 20
MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "-", "?"})
LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Record:
    """One row of the file: the line it begins on, and its fields."""

    line: int
    fields: list[str]

    def line_of(self, position: int) -> int:
        """Return the line of a field: line ends in the quoted fields before it count."""
        return self.line + sum(len(LINE_END.findall(text)) for text in self.fields[:position])


def read_table(path: Path, *, features: Sequence[str], target: str) -> pd.DataFrame:
    """Read the features and the target of a CSV file with a header; other columns are ignored.

    Parameters
    ----------
    path
        Comma-separated, UTF-8 (with or without byte order mark), any line ends.
    features, target
        Names of numeric columns, as the header has them.

    Returns
    -------
    pandas.DataFrame
        float64, shape (rows, features + 1): the features in the order given, the target last.

    Raises
    ------
    ValueError
        At the first fault of the file.
    """
    names = [*features, target]
    if target in features:
        raise ValueError(f"data.target: {target!r} stands among data.features too; remove it there")
    records = _records(path, decode(path))
    header = next(records, None)
    if header is None:
        raise ValueError(f"{path}: the file is empty; it needs a header line and rows below it")
    positions = _positions(path, header, names)
    values = [
        [_number(path, record, at, name) for name, at in zip(names, positions, strict=True)]
        for record in _complete(path, records, header)
    ]
    if len(values) < MINIMUM_ROWS:
        count = "no rows below its header" if not values else f"only {len(values)} rows"
        raise ValueError(f"{path}: has {count}; at least {MINIMUM_ROWS} are needed to train")
    frame = pd.DataFrame(np.array(values, dtype=np.float64), columns=names)
    for name in names:
        if frame[name].min() == frame[name].max():
            remedy = "choose another target" if name == target else "take it out of data.features"
            raise ValueError(
                f"{path}: column {name!r} is constant (every value is {frame[name].iloc[0]:g}) "
                f"and holds no information; {remedy}"
            )
    return frame


def decode(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    Raises
    ------
    ValueError
        When it is not there, or holds other bytes than UTF-8, with the first one's place.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what} in {Path.cwd()}; data.source must name a CSV file")
    content = path.read_bytes()
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            guess = "UTF-16"
        else:
            guess = "Windows-1252 or Latin-1"
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}, line {line}: byte {error.start} (0x{content[error.start]:02x}) is not UTF-8; "
            f"the file looks like {guess}: save it as UTF-8"
        ) from error


def _records(path: Path, text: str) -> Iterator[Record]:
    """Yield the records that are not blank."""
    # newline="": line ends inside quotes are kept, and counted, as they are.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {line}: the record that begins here cannot be read ({error}); "
                'is a quote (") opened and not closed? Close it, or double it where it is text'
            ) from error
        if any(field.strip() for field in fields):
            yield Record(line, fields)


def _complete(path: Path, records: Iterator[Record], header: Record) -> Iterator[Record]:
    """Yield the records, each with as many fields as the header."""
    for record in records:
        if len(record.fields) != len(header.fields):
            raise ValueError(
                f"{path}, line {record.line}: {len(record.fields)} fields, where the header has "
                f"{len(header.fields)}; quote fields that contain commas, and complete short rows"
            )
        yield record


def _positions(path: Path, header: Record, names: Sequence[str]) -> list[int]:
    """Return where in a record each column stands."""
    there = header.fields
    for name in names:
        if name not in there:
            separator = next((s for s in ";\t|" if len(there) == 1 and s in there[0]), None)
            if separator:
                hint = f"; its fields are separated by {separator!r}: save it with commas"
            else:
                hint = meant(name, there)
                if hint.endswith("?"):
                    hint += f" The columns are {', '.join(there)}"
            raise ValueError(f"{path}, line {header.line}: has no column {name!r}{hint}")
        if there.count(name) > 1:
            raise ValueError(
                f"{path}, line {header.line}: {there.count(name)} columns are called {name!r}; "
                "give each its own name"
            )
    return [there.index(name) for name in names]


def _number(path: Path, record: Record, position: int, name: str) -> float:
    """Convert one field."""
    text = record.fields[position].strip()
    try:
        # float() would take 1_000 for a number.
        value = float(text.replace("_", "?"))
    except ValueError:
        where = f"{path}, line {record.line_of(position)}, column {name!r}"
        if text.lower() in MISSING:
            raise ValueError(
                f"{where}: the value is missing; fill it in or remove the row"
            ) from None
        raise ValueError(
            f"{where}: {text!r} is not a number; write digits with a decimal point, without unit "
            "or thousands separator, or leave this column out of the configuration"
        ) from None
    if not math.isfinite(value):
        raise ValueError(
            f"{path}, line {record.line_of(position)}, column {name!r}: {text!r} is not a finite "
            "number; correct it or remove the row"
        )
    return value
