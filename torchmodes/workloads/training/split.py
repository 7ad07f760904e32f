"""How many rows each part of a table has."""

from __future__ import annotations

MINIMUM_OF_A_SPLIT = 2  # R² of a single row is undefined


def split_sizes(rows: int, *, validation: float, test: float) -> dict[str, int]:
    """Return the rows of ``validation``, ``test`` and ``training``, which gets the rest.

    Raises
    ------
    ValueError
        When a part would have fewer than 2 rows.
    """
    sizes = {"validation": round(rows * validation), "test": round(rows * test)}
    sizes["training"] = rows - sum(sizes.values())
    for part, size in sizes.items():
        if size < MINIMUM_OF_A_SPLIT:
            raise ValueError(
                f"data.validation {validation:g} and data.test {test:g} leave {max(size, 0)} of "
                f"{rows} rows for {part}; each part needs {MINIMUM_OF_A_SPLIT}: change the shares "
                "or use more rows"
            )
    return sizes
