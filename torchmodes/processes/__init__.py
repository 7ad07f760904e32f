"""Supervision: a function in a process of its own, and how that ended, whatever happens."""
