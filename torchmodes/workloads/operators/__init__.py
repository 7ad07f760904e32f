"""Custom operators in C++, ``torchmodes::add`` and ``torchmodes::multiply``: built once, loaded."""
