"""Prediction: a trained model, read from what a training left, asked about one row."""
