"""How the app says that something is missing or broken: one sentence and one command.

Streamlit reads Markdown in most of what it shows. What comes from files goes through
`torchmodes.report.markdown`, so that it is shown and not obeyed.
"""

from __future__ import annotations

import streamlit as st

from torchmodes.report.markdown import markdown_text


def show_problem(message: str, *, remedy: str | None = None) -> None:
    """Say what is wrong and, where there is one, show the command or advice that mends it."""
    st.error(markdown_text(message), icon=":material/error:")
    if remedy:
        st.code(remedy, language="bash" if remedy.startswith(("snakemake", "make")) else None)


def show_missing(message: str, *, remedy: str) -> None:
    """Say what is not there yet, and show the command that makes it."""
    st.info(markdown_text(message), icon=":material/info:")
    st.code(remedy, language="bash")
