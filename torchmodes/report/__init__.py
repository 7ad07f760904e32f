"""The report: tables, figures and pages made from records, in words that the data choose.

Nothing here imports PyTorch.
"""
