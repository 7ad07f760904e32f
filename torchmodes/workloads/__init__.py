"""What is measured: a model in a mode, ready to be called again and again."""
