"""The synthetic house-price table: the same bytes for the same seed, anywhere.

How the numbers were chosen. The columns, their means and spreads and the price's dependence on them
follow the 5,000-row "USA housing" table that tutorials use, rounded to two or three digits:

- income, house age, rooms and population are independent and close to normal;
- bedrooms read as a whole number and a fraction of 0.00 to 0.50, both uniform: 2 to 4 in areas of
  fewer than 7 rooms, 3 to 6 in the others (correlation with rooms just below 0.5);
- the price is a linear function of standardised columns plus noise. In the original, the linear fit
  explains 92 % of the variance and bedrooms add nothing to it.

Two mild curvatures are added, so that a network has something to find: richer areas pay more for
an additional room, and age counts less the older the houses are.

How the bytes stay the same. NumPy promises the raw stream of PCG64 for ever, but not what
`Generator.normal` makes of it, and the C library's `log` and `exp` differ in their last digits. So
only raw integers are drawn; a normal number is the sum of twelve of them (Irwin and Hall: mean 6,
variance 1; excess kurtosis -0.1, no value beyond 6 standard deviations); the rest is
multiplication and addition, exact by IEEE 754, and rounding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

STREAM = 0  # other uses of the same seed (the split) draw from other streams

UNITS = {
    "Avg. Area Income": "dollars a year",
    "Avg. Area House Age": "years",
    "Avg. Area Number of Rooms": "rooms",
    "Avg. Area Number of Bedrooms": "bedrooms",
    "Area Population": "people",
    "Price": "dollars",
}
"""The generated columns, in order, and their units."""


def generate_housing(*, rows: int, seed: int) -> pd.DataFrame:
    """Generate the table, shape (rows, 6).

    It has the columns of `UNITS`, rounded to cents, hundredths and whole people. A seed is any
    integer that is not negative.
    """
    bits = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(STREAM,)))
    drawn = [_standard_normal(bits, rows) for _ in range(5)]
    z_income, z_age, z_rooms, z_population, noise = drawn
    rooms = np.round(6.99 + 1.0 * z_rooms, 2)
    many = rooms >= 7
    whole = np.where(many, 3 + bits.random_raw(rows) % 4, 2 + bits.random_raw(rows) % 3)
    bedrooms = np.round((100 * whole + bits.random_raw(rows) % 51) / 100, 2)
    price = (
        1_232_000
        + 230_000 * z_income
        + 164_000 * z_age
        + 121_000 * z_rooms
        + 151_000 * z_population
        + 12_000 * z_income * z_rooms
        - 8_000 * (z_age * z_age - 1)
        + 97_000 * noise
    )
    columns = [
        np.round(68_600 + 10_650 * z_income, 2),
        np.round(5.98 + 0.99 * z_age, 2),
        rooms,
        bedrooms,
        # Bounds for the few areas of thousands that the normal distribution would make negative.
        np.round(np.maximum(36_160 + 9_930 * z_population, 200)).astype(np.int64),
        np.round(np.maximum(price, 10_000), 2),
    ]
    return pd.DataFrame(dict(zip(UNITS, columns, strict=True)))


def write_housing(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV: UTF-8, LF, each number in the fewest digits that read back exactly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False, lineterminator="\n", encoding="utf-8")


def _standard_normal(bits: np.random.PCG64, rows: int) -> np.ndarray:
    """Draw standard-normal numbers, shape (rows,): sums of twelve 32-bit integers.

    References
    ----------
    P. Hall, "The distribution of means for samples of size N drawn from a population in which the
    variate takes values between 0 and 1", Biometrika 19 (1927).
    """
    raw = bits.random_raw(6 * rows).reshape(rows, 6)
    low, high = raw & np.uint64(0xFFFFFFFF), raw >> np.uint64(32)
    total = (low + high).sum(axis=1, dtype=np.uint64)
    return total.astype(np.float64) / 2**32 - 6.0
