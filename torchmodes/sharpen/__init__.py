"""More runs where an answer is open: ``make sharpen``, a loop over targets of the workflow."""
