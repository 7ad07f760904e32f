"""One style for every figure: colours that colour-blind readers can tell apart, text as text.

A mode looks the same everywhere, because its look depends on its name alone. Colour is never the
only sign: marker and line differ too, and every row is labelled.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

from torchmodes.config.modes import ENGINES

WIDTH_INCHES = 5.0
"""Narrow, so that the text stays readable when a phone scales a figure to its screen."""

INK = "#1b2430"
MUTED = "#566170"
GRID = "#dfe4ea"
FLOOR = "#cfd6de"
MARGIN = "#e9edf2"
SURFACE = "#fffffe"
BASELINE = "#39424e"
"""Eager, with which everything is compared, is drawn in a dark grey."""

_FIRST = {
    "blue": "#0b5cad",
    "sky": "#2a93d4",
    "green": "#0f946a",
    "gold": "#b18400",
    "vermilion": "#c4480a",
    "pink": "#c05f9f",
}
"""Hues checked in pairs under simulated deuter-, prot- and tritanopia (Machado 2009)."""
_MORE = {
    "violet": "#7d2a8c",
    "teal": "#007f86",
    "olive": "#6f7d00",
    "brown": "#8a5230",
    "magenta": "#b3246f",
    "indigo": "#5a5fc7",
}
"""For modes that users name; such a mode differs from others by marker and line as well."""
PALETTE = _FIRST | _MORE

_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "h")
_LINES: dict[str, Any] = {
    "solid": "-",
    "dashed": (0, (6, 2)),
    "short": (0, (3, 1.5)),
    "dash-dot": (0, (6, 2, 1.5, 2)),
    "dotted": (0, (1.5, 1.5)),
}


@dataclass(frozen=True)
class Look:
    """How a mode is drawn."""

    colour: str
    marker: str
    line: Any

    @property
    def curve(self) -> dict[str, Any]:
        """How `plot` draws its line from point to point."""
        edge = {"markersize": 5, "markeredgecolor": SURFACE, "markeredgewidth": 0.6}
        return {"color": self.colour, "linestyle": self.line, "marker": self.marker, **edge}

    def point(self, *, filled: bool = True) -> dict[str, Any]:
        """Return how `plot` draws one point of it, hollow or filled."""
        face = self.colour if filled else SURFACE
        return {"color": self.colour, "marker": self.marker, "markerfacecolor": face}


_HUES = {"baseline": BASELINE, **PALETTE}
_KNOWN = {
    look.mode: Look(_HUES[look.hue], look.marker, _LINES[look.line])
    for section in ENGINES.values()
    for look in section.looks
}
_RC: dict[Any, Any] = {
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "hatch.color": SURFACE,
    "figure.facecolor": SURFACE,
    "savefig.facecolor": SURFACE,
    "svg.fonttype": "none",
    "svg.hashsalt": "torchmodes",
}


@contextmanager
def figure_style() -> Generator[None]:
    """Draw and save in the report's style, leaving matplotlib's settings as they were."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def look(mode: str) -> Look:
    """Return how a mode is drawn: the same for the same name in every figure of every run."""
    if mode in _KNOWN:
        return _KNOWN[mode]
    digest = hashlib.sha256(mode.encode()).digest()
    colours = [*_MORE.values(), _FIRST["pink"]]
    return Look(
        colours[digest[0] % len(colours)],
        _MARKERS[digest[1] % len(_MARKERS)],
        [*_LINES.values()][digest[2] % len(_LINES)],
    )


def variables() -> dict[str, str]:
    """Return the name of the CSS variable for each colour, so that a page can give it others."""
    named = {"ink": INK, "muted": MUTED, "grid": GRID, "floor": FLOOR, "margin": MARGIN}
    named |= {"surface": SURFACE, "baseline": BASELINE, **PALETTE}
    return {f"figure-{name}": colour for name, colour in named.items()}
