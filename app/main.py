"""The app's frame: `make app`, or `streamlit run app/main.py` in the folder that has results/."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import streamlit as st

# `streamlit run` puts this folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from torchmodes.report.style import BASELINE, PALETTE

# Drawn here: for an icon by name or an emoji the browser would ask a host on the internet.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    f'<path d="M1 9h3v6H1z" fill="{BASELINE}"/><path d="M6 5h3v10H6z" fill="{PALETTE["sky"]}"/>'
    f'<path d="M11 1h3v14h-3z" fill="{PALETTE["blue"]}"/></svg>'
)
STYLE = ".stMainBlockContainer { padding-top: 4.5rem; }"
# Of each page its module, title, address and icon; the first is the home.
PAGES = (
    ("benchmarks", "Benchmarks", "benchmarks", ":material/home:"),
    ("predict", "Predict", "predict", ":material/payments:"),
    ("inside", "Inspect", "inspect", ":material/search:"),
    ("profiles", "Profiles", "profiles", ":material/account_tree:"),
)


def main() -> None:
    """Show the page that was asked for."""
    st.set_page_config(page_title="torchmodes", page_icon=ICON, layout="wide")
    st.html(f"<style>{STYLE}</style>")
    pages = [
        st.Page(_page(name), title=title, url_path=path, icon=icon, default=name == PAGES[0][0])
        for name, title, path, icon in PAGES
    ]
    st.navigation(pages, position="top").run()


def _page(name: str) -> Callable[[], None]:
    """Return what shows a page. Its module is imported no sooner: some take PyTorch's seconds."""
    return lambda: import_module(f"app.views.{name}").show()


main()
