"""The pages of the app; each has a function ``show``.

The folder is not called pages: what lies in one, Streamlit shows before `main.py` has said what
there is.
"""
