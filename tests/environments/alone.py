"""Inside an environment under test: what it lacks does not come from that of Snakemake.

Snakemake puts its own folder at the end of a script's path, so that the script can read the
``snakemake`` object. A package that an environment file forgets would be found there. So only
Snakemake finds anything there.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType

HOST: list[str] = []


class Alone(PathFinder):
    """Finds modules as Python does, but those of the host only for Snakemake."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; raises nothing."""
        if fullname == "torchmodes":  # ours begin: they import for themselves what Snakemake has
            for name, module in list(sys.modules.items()):
                if _of_host(getattr(module, "__file__", None)) and not _of_snakemake(name):
                    del sys.modules[name]
        if path is None and not _of_snakemake(fullname) and not _of_host(_importer()):
            path = [folder for folder in sys.path if not _of_host(folder)]
        return PathFinder.find_spec(fullname, path, target)


def hide(host: str) -> None:
    """Hide the environment in the folder `host` from everything but Snakemake."""
    if Alone not in sys.meta_path:  # `site` may read the file that calls this twice
        HOST.append(host)
        sys.meta_path[sys.meta_path.index(PathFinder)] = Alone


def _of_host(file: str | None) -> bool:
    return file is not None and file.startswith(tuple(HOST))


def _of_snakemake(module: str) -> bool:
    return module.startswith("snakemake")


def _importer() -> str | None:
    """Return the file whose code imports: the first frame that is not of the import system."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame.f_code.co_filename if frame else None
