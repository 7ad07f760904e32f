"""The house-price table, and training on it."""
