"""Two runs side by side: which cases became faster or slower, and what else is different.

Nothing here imports PyTorch. ``python -m torchmodes.report.comparison`` is the command.
"""
