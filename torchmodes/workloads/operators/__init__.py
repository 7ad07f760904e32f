"""Custom operators in C++: ``torchmodes::add`` and ``torchmodes::multiply``.

Built once into a shared library (`build_operators`), loaded where they are used (`load_operators`).
"""

from torchmodes.workloads.operators.build import BuildFailed, MissingCompiler, build_operators
from torchmodes.workloads.operators.load import load_operators

__all__ = ["BuildFailed", "MissingCompiler", "build_operators", "load_operators"]
