"""Prediction: a trained model, loaded from the files of its training, and called on one row."""
