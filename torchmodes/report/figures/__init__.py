"""The figures, one file per question."""
