"""torchmodes: which PyTorch execution mode to ship, measured."""
