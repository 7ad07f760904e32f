"""Files of text: graphs and generated code."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from app.messages import show_problem
from torchmodes.report.markdown import markdown_code
from torchmodes.results.reading import CorruptFile, read_bytes

LANGUAGES = {".py": "python", ".json": "json", ".cpp": "cpp", ".h": "cpp"}
LONGEST = 200_000
HEIGHT_PIXELS = 360


def show_text(path: Path) -> None:
    """Show a file, or say why it cannot be read; of a very long one the beginning."""
    st.caption(markdown_code(str(path)))
    try:
        text = read_bytes(path).decode("utf-8")
    except CorruptFile as error:
        show_problem(str(error))
        return
    except (OSError, UnicodeDecodeError) as error:
        show_problem(f"{path}: cannot be read ({error})")
        return
    st.code(text[:LONGEST], language=LANGUAGES.get(path.suffix), height=HEIGHT_PIXELS)
    if len(text) > LONGEST:
        st.caption(f"The first {LONGEST:,} of {len(text):,} characters.")
