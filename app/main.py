"""The app's frame: `make app`, or `streamlit run app/main.py` in the folder that has results/."""

from __future__ import annotations

import sys
from pathlib import Path

import streamlit as st

# `streamlit run` puts this folder on the path, not the one that holds the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from app.views import benchmarks, inside, predict, profiles
from torchmodes.report.style import BASELINE, PALETTE

# Drawn here: for an icon by name or an emoji the browser would ask a host on the internet.
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
    f'<path d="M1 9h3v6H1z" fill="{BASELINE}"/><path d="M6 5h3v10H6z" fill="{PALETTE["sky"]}"/>'
    f'<path d="M11 1h3v14h-3z" fill="{PALETTE["blue"]}"/></svg>'
)
STYLE = ".stMainBlockContainer { padding-top: 4.5rem; }"
PAGES = (
    (predict.show, "Predict", "predict", ":material/home:"),
    (benchmarks.show, "Benchmarks", "benchmarks", ":material/speed:"),
    (inside.show, "Inspect", "inspect", ":material/search:"),
    (profiles.show, "Profiles", "profiles", ":material/account_tree:"),
)


def main() -> None:
    """Show the page that was asked for."""
    st.set_page_config(page_title="torchmodes", page_icon=ICON, layout="wide")
    st.html(f"<style>{STYLE}</style>")
    pages = [
        st.Page(show, title=title, url_path=path, icon=icon, default=show is predict.show)
        for show, title, path, icon in PAGES
    ]
    st.navigation(pages, position="top").run()


main()
