"""What is run, where its results lie, and what they depend on."""
