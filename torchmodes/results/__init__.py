"""What cases leave: records and other files, read and written whole."""
