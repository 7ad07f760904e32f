"""Profiles: why a mode is faster or slower, never measured while it is timed."""
