"""Tables in which a mode has the colour it has in every figure."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from pandas.io.formats.style import Styler

from torchmodes.report.style import look


def coloured(table: pd.DataFrame, modes: Sequence[str]) -> Styler:
    """Write the cells of the column ``Mode`` in the colours of the rows' modes."""
    colours = [f"color: {look(mode).colour}; font-weight: 600" for mode in modes]
    return table.style.apply(lambda _: colours, subset=["Mode"])
