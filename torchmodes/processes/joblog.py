"""How a job of the workflow logs and fails."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from torchmodes.results.writing import disk_fault, print_anything


@contextmanager
def job_log(path: str | Path) -> Generator[logging.Logger]:
    """Log to a file; tell the user's mistakes in one line and keep every traceback in the log.

    Whatever the locale, nothing that is logged or printed is too strange for it.

    Raises
    ------
    SystemExit
        With the message of a ValueError, or of a disk that is full or read-only: what the user can
        put right. Without one where the user pressed Ctrl-C, who knows why.
    """
    print_anything()
    logging.basicConfig(
        filename=path,
        encoding="utf-8",
        errors="backslashreplace",
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        force=True,
    )
    logging.captureWarnings(capture=True)
    logger = logging.getLogger("torchmodes")
    try:
        yield logger
    except ValueError as error:
        logger.exception("the job stopped")
        sys.exit(f"Error: {error}")
    except OSError as error:
        logger.exception("the job failed")
        if (fault := disk_fault(error)) is None:
            raise
        sys.exit(f"Error: {fault}")
    except KeyboardInterrupt:
        logger.info("the job was interrupted")
        sys.exit(128 + signal.SIGINT)
    except Exception:
        logger.exception("the job failed")
        raise
