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

from torchmodes.config.faults import nearest
from torchmodes.workloads.training.encoding import decode

MINIMUM_ROWS = 20
LONGEST_SHOWN = 60
"""Characters of a field that a fault shows."""
MISSING = frozenset(
    {"", "na", "n/a", "n.a.", "#n/a", "<na>", "null", "none", "missing", "unknown", "-", "?", "."}
)
SEPARATORS = ";\t|"
SCALES = (1e-150, 1e150)
"""Standard deviations between these can be squared and summed in double precision."""
LINE_END = re.compile(r"\r\n|\r|\n")
EXCELS_HINT = re.compile(r'"?sep=(.)"?(?=[\r\n]|\Z)', re.IGNORECASE)
"""The first line that tells Excel how fields are separated."""


class FaultyTable(ValueError):
    """A table has faults; the message names the file and lists every one that was found."""

    def __init__(self, path: Path, *faults: str) -> None:
        if len(faults) == 1:
            between = ", " if faults[0].startswith("line ") else ": "
            super().__init__(f"{path}{between}{faults[0]}")
        else:
            lines = "\n".join(f"  {fault}" for fault in faults)
            super().__init__(f"{path} has {len(faults)} faults:\n{lines}")
        self.faults = list(faults)


@dataclass(frozen=True)
class TableRow:
    """One row of the file: the line it begins on, and its fields."""

    line: int
    fields: list[str]

    @property
    def empty(self) -> bool:
        """Whether nothing stands in any field."""
        return not any(field.strip() for field in self.fields)

    def line_of(self, position: int) -> int:
        """Return the line of a field: line ends in the quoted fields before it count."""
        return self.line + sum(len(LINE_END.findall(text)) for text in self.fields[:position])


def read_table(path: Path, *, features: Sequence[str], target: str) -> pd.DataFrame:
    """Read the features and the target of a CSV file with a header; other columns are ignored.

    The file is comma-separated, UTF-8 (with or without byte order mark), any line ends; plain or
    compressed (see `torchmodes.workloads.training.encoding.decode`). Columns are numeric, named as
    the header has them; spaces around a name do not count. The frame is float64, shape (rows,
    features + 1): the features in the order given, the target last.

    Raises
    ------
    FaultyTable
        Where the file is no such table: its first fault. Where its values are at fault: the first
        one of every column.
    """
    names = [*features, target]
    if target in features:
        raise ValueError(f"data.target: {target!r} stands among data.features too; remove it there")
    text = decode(path)
    if hint := EXCELS_HINT.match(text):
        text = text[hint.end() :]  # the line stays, empty, so that all others keep their numbers
    if fault := _separator_fault(text, names, told=hint[1] if hint else None):
        raise FaultyTable(path, fault)
    records = _rows(path, text)
    header = next(records, None)
    if header is None:
        raise FaultyTable(path, "the file is empty; it needs a header line and rows below it")
    positions = _positions(path, header, names)
    faults: dict[str, str] = {}
    values = []
    for record in records:
        if fault := _row_fault(record, header):
            if len(record.fields) == len(header.fields) + 1 and not record.empty:
                fault += _surplus_hint(record, *_rows(path, text))
            raise FaultyTable(path, f"line {record.line}: {fault}")
        row = []
        for name, position in zip(names, positions, strict=True):
            try:
                row.append(_number(record, position, name))
            except ValueError as fault:
                faults.setdefault(name, str(fault))
        values.append(row)
    if faults:
        raise FaultyTable(path, *faults.values())
    if len(values) < MINIMUM_ROWS:
        count = (
            "no rows below its header"
            if not values
            else f"only {len(values)} row{'s' * (len(values) > 1)}"
        )
        raise FaultyTable(path, f"has {count}; at least {MINIMUM_ROWS} are needed to train")
    frame = pd.DataFrame(np.array(values, dtype=np.float64), columns=names)
    if unusable := column_faults(frame):
        raise FaultyTable(path, *unusable)
    return frame


def column_faults(frame: pd.DataFrame, *, among: str = "") -> list[str]:
    """Say of each column that cannot be scaled why, and what to do; the last one is the target.

    `among` says for the sentence which rows these are: `` over the 436 training rows``; empty: all.
    """
    found = []
    for name in frame.columns:
        values = frame[name].to_numpy()
        smallest, largest = values.min(), values.max()
        remedy = (
            "choose another target" if name == frame.columns[-1] else "take it out of data.features"
        )
        if among:
            remedy += ", or use more rows or another seed"
        if smallest == largest:
            found.append(
                f"column {name!r} is constant{among} (every value is {smallest:g}) "
                f"and holds no information; {remedy}"
            )
            continue
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            deviation = float(values.std())
        if not SCALES[0] < deviation < SCALES[1]:
            found.append(
                f"column {name!r} cannot be scaled{among}: its values reach from {smallest:g} to"
                f" {largest:g}, and squares of their differences are beyond what a number holds;"
                f" use another unit, or {remedy}"
            )
    return found


def _separator_fault(text: str, names: Sequence[str], *, told: str | None) -> str | None:
    """Say that something else than a comma separates the fields, if it looks or is told so."""
    lines = LINE_END.split(text)
    at = next((at for at, line in enumerate(lines) if line.strip()), None)
    if at is None:
        return None
    header = lines[at]

    def found(separator: str) -> int:
        fields = {field.strip(' \t"') for field in header.split(separator)}
        return len(fields.intersection(names))

    likely = max(SEPARATORS, key=lambda separator: (found(separator), header.count(separator)))
    if told and told != ",":
        likely = told
    elif found(" ") > max(found(likely), found(",")):
        likely = " "
    elif found(likely) <= found(",") and ("," in header or likely not in header):
        return None
    points = " and decimal points" if re.search(r"\d,\d", "\n".join(lines[at + 1 : at + 3])) else ""
    return f"line {at + 1}: its fields are separated by {likely!r}: save it with commas{points}"


def _rows(path: Path, text: str) -> Iterator[TableRow]:
    """Yield the records of all lines that are not blank."""
    # newline="": line ends inside quotes are kept, and counted, as they are.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise FaultyTable(
                path,
                f"line {line}: the record that begins here cannot be read ({error}); "
                'is a quote (") opened and not closed? Close it, or double it where it is text',
            ) from error
        if len(fields) > 1 or any(field.strip() for field in fields):
            yield TableRow(line, fields)


def _positions(path: Path, header: TableRow, names: Sequence[str]) -> list[int]:
    """Return where in a record each column stands."""
    there = [field.strip() for field in header.fields]
    if header.empty:
        fault = "every field is empty; remove the lines above the names of the columns"
        raise FaultyTable(path, f"line {header.line}: {fault}")
    positions, missing, faults = [], [], []
    for name in names:
        # As it is written, or else but for the spaces around it.
        found = [at for at, field in enumerate(header.fields) if field == name] or [
            at for at, field in enumerate(there) if field == name.strip()
        ]
        positions += found[:1]
        if not found:
            missing.append(name)
        elif len(found) > 1:
            faults.append(
                f"line {header.line}: {len(found)} columns are called {name!r}; "
                "give each its own name"
            )
    if missing:
        faults.insert(0, f"line {header.line}: {_missing_columns(missing, there)}")
    if faults:
        raise FaultyTable(path, *faults)
    return positions


def _missing_columns(missing: Sequence[str], there: Sequence[str]) -> str:
    """Say which columns a header lacks, and what is there instead."""
    told = f"has no column {', '.join(map(repr, missing))}"
    columns = ", ".join(there)
    close = {name: known for name in missing if (known := nearest(name, there)) is not None}
    if there[0].startswith("#") and not close:
        return f"{told}; it begins with '#': remove comments, the first line names the columns"
    if close:
        pairs = [
            repr(known) if len(missing) == 1 else f"{known!r} for {name!r}"
            for name, known in close.items()
        ]
        told += f"; did you mean {', '.join(pairs)}? The columns are {columns}"
    else:
        told += f"; known: {columns}"
    if sum(map(_is_number, there)) > len(there) / 2:
        told += ". Is it a row of data? Then a line with the names of the columns is missing above"
    return told


def _row_fault(record: TableRow, header: TableRow) -> str | None:
    """Say what is wrong with a row as a whole."""
    if record.empty:
        return "every field is empty; remove the row"
    if [field.strip() for field in record.fields] == [field.strip() for field in header.fields]:
        return "the header stands here once more; remove the line"
    if len(record.fields) == len(header.fields):
        return None
    if record.fields[0].lstrip().startswith("#"):
        return "it begins with '#': remove comments, a CSV file has none"
    fault = f"{len(record.fields)} fields, where the header has {len(header.fields)}"
    if len(record.fields) == len(header.fields) + 1:
        return fault  # there are several ways to that, which the other rows tell apart
    return f"{fault}; quote fields that contain commas, and complete short rows"


def _surplus_hint(record: TableRow, header: TableRow, *rows: TableRow) -> str:
    """Say what to do about a row of one field more than the header has names."""
    alike = all(len(row.fields) == len(record.fields) for row in rows)
    if not record.fields[-1].strip():
        if alike and not any(row.fields[-1].strip() for row in rows):
            return "; every row ends with a comma, and the header does not: take them off"
        return "; it ends with a comma too many"
    first = [row.fields[0] for row in rows]
    numbered = first == [str(number) for number in range(1, len(rows) + 1)]
    if alike and (numbered or not any(map(_is_number, first))):
        return (
            "; is the first one the name of the row, as R writes it? Name that column too, or"
            " write the table without (row.names = FALSE)"
        )
    return "; quote fields that contain commas, and write decimal points"


def _number(record: TableRow, position: int, name: str) -> float:
    """Convert one field.

    Raises
    ------
    ValueError
        When it is no finite number, with its line and column.
    """
    text = record.fields[position].strip()
    value = float(text) if _is_number(text) else None
    if value is not None and math.isfinite(value):
        return value
    where = f"line {record.line_of(position)}, column {name!r}"
    shown = repr(text) if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]!r}…"
    if value is None:
        if text.lower() in MISSING:
            raise ValueError(f"{where}: the value is missing; fill it in or remove the row")
        raise ValueError(
            f"{where}: {shown} is not a number; write digits with a decimal point, without unit,"
            " currency, percent sign or thousands separator, or leave this column out of the"
            " configuration"
        )
    raise ValueError(f"{where}: {shown} is not a finite number; correct it or remove the row")


def _is_number(text: str) -> bool:
    try:
        # float() would take 1_000 for a number.
        float(text.replace("_", "?"))
    except ValueError:
        return False
    return True
