"""Reading results: a whole file of the right shape, or one error that names it and what to do."""

from __future__ import annotations

import io
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

if TYPE_CHECKING:
    import pandas as pd

Model = TypeVar("Model", bound=BaseModel)
AGAIN = "delete it and run snakemake again"
"""What mends a result that cannot be read: the workflow makes it anew."""


@dataclass(frozen=True)
class Unreadable:
    """A file that is not what it should be, and what to do about it.

    The reason is the predicate of a sentence: ``cannot be read (…)``.
    """

    path: Path
    reason: str
    remedy: str = AGAIN

    def __str__(self) -> str:
        return f"{self.path} {self.reason}; {self.remedy}"


class CorruptFile(ValueError):
    """A file that is not what it should be; the message names it and what to do."""

    def __init__(self, path: Path, reason: str, *, remedy: str = AGAIN) -> None:
        self.unreadable = Unreadable(path, reason, remedy)
        super().__init__(str(self.unreadable))


class Result(BaseModel):
    """A result that one job wrote for others to read; what no reader knows is left out."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises
    ------
    CorruptFile
        When it is missing, a folder or a pipe, a link to itself, or may not be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
            raise CorruptFile(path, "is not a file")
        return path.read_bytes()
    except FileNotFoundError:
        raise CorruptFile(path, "is missing", remedy="run snakemake again") from None
    except OSError as error:
        raise CorruptFile(path, f"cannot be read ({error.strerror})") from None


def read_json(
    path: Path, model: type[Model], *, strict: bool = False, remedy: str = AGAIN
) -> Model:
    """Read a file of JSON that has the shape of a model; `strict`: no text will do for a number.

    Raises
    ------
    CorruptFile
        When it is missing, or is something else.
    """
    try:
        return model.model_validate_json(read_bytes(path), strict=strict or None)
    except ValidationError as error:
        told = f"cannot be read ({first_fault(error.errors())})"
        raise CorruptFile(path, told, remedy=remedy) from None


def first_fault(errors: Sequence[ErrorDetails]) -> str:
    """Say in one line what is wrong first, and where: ``run.wall_s: should be a valid number``."""
    where = ".".join(map(str, errors[0]["loc"]))
    what = errors[0]["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{where}: {what}" if where else what


def read_table(
    path: Path, *, texts: Sequence[str] = (), numbers: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a table of comma-separated values.

    Parameters
    ----------
    texts, numbers
        Columns that it must have; of the latter, every value is a number or missing.

    Raises
    ------
    CorruptFile
        When it is missing, is no table, or lacks such a column.
    """
    import pandas as pd  # here: jobs that measure read no table, and start without it

    content = io.BytesIO(read_bytes(path))
    try:
        table = pd.read_csv(content)
    except ValueError as error:  # pandas' own errors among them
        raise CorruptFile(path, f"cannot be read as a table ({error})") from None
    if missing := [name for name in (*texts, *numbers) if name not in table.columns]:
        raise CorruptFile(path, f"has no column {', '.join(missing)}")
    for name in numbers:
        try:
            table[name] = table[name].astype(float)
        except ValueError as error:
            raise CorruptFile(path, f"has no numbers in the column {name} ({error})") from None
    return table.astype(dict.fromkeys(texts, str))
