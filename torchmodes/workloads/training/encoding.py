"""The text of a file that may be compressed, or may be no text at all."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from pathlib import Path

COMPRESSED = {
    b"\x1f\x8b": ("gzip", gzip.decompress),
    b"BZh": ("bzip2", bz2.decompress),
    b"\xfd7zXZ\x00": ("xz", lzma.decompress),
}
"""What can be unpacked, by the first bytes of a file."""
ZIP = b"PK\x03\x04"
NO_CSV = {
    rb"\(\xb5/\xfd": "is compressed by Zstandard; unpack it, or compress it by gzip",
    rb"7z\xbc\xaf": "is a 7-Zip archive; unpack it",
    rb"Rar!": "is a RAR archive; unpack it",
    rb"PAR1": "is a Parquet file; write it as CSV (pandas: read_parquet, to_csv)",
    rb"ARROW1": "is an Arrow or Feather file; write it as CSV (pandas: read_feather, to_csv)",
    rb"\x89HDF": "is an HDF5 file; write its table as CSV",
    rb"SQLite format 3": "is a SQLite database; write its table as CSV",
    rb"\xd0\xcf\x11\xe0": "is a workbook of an old Excel; save the sheet as CSV (UTF-8)",
    rb"%PDF": "is a PDF; get the table as CSV",
    rb"version https://git-lfs": "is a pointer of Git LFS; get the file itself by `git lfs pull`",
    rb"<(!doctype|html|head|body|table|\?xml)": "is a page of HTML or XML; get the CSV file itself",
    rb"\{\s*\"|\[\s*[{\[]": "is JSON; write it as CSV (pandas: read_json, to_csv)",
}
"""What is taken for a table by mistake: a pattern of its first bytes, and what to do."""


def decode(path: Path) -> str:
    """Return the text of a UTF-8 file without its byte order mark.

    A file compressed by gzip, bzip2 or xz, or the only one in a zip archive, is unpacked; that is
    seen in its first bytes and not in its name.

    Raises
    ------
    ValueError
        When it is not there, is something else, or holds other bytes than UTF-8, with the first
        one's place.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise ValueError(f"{path}: {what} in {Path.cwd()}; data.source must name a CSV file")
    content = _unpacked(path, path.read_bytes())
    for pattern, what in NO_CSV.items():
        if re.match(rb"(\xef\xbb\xbf)?\s*(" + pattern + rb")", content[:1000], re.IGNORECASE):
            raise ValueError(f"{path}: {what}")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        utf_16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        guess = "UTF-16" if utf_16 else "Windows-1252 or Latin-1"
        raise ValueError(
            f"{_place(path, content, error.start)} is not UTF-8; "
            f"the file looks like {guess}: save it as UTF-8"
        ) from error
    if "\0" in text:
        guess = "UTF-16: save it as UTF-8" if 0 in content[:4] else "no text at all"
        place = _place(path, content, content.index(0))
        raise ValueError(f"{place} is no character; the file looks like {guess}")
    return text.removeprefix("\ufeff")


def _place(path: Path, content: bytes, at: int) -> str:
    line = content.count(b"\n", 0, at) + 1
    return f"{path}, line {line}: byte {at} (0x{content[at]:02x})"


def _unpacked(path: Path, content: bytes) -> bytes:
    """Unpack what is compressed, and return anything else as it is."""
    for first, (name, unpack) in COMPRESSED.items():
        if content.startswith(first):
            try:
                return unpack(content)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
                raise ValueError(f"{path}: is broken {name} data: {error}") from error
    return _only_member(path, content) if content.startswith(ZIP) else content


def _only_member(path: Path, content: bytes) -> bytes:
    """Return the only file of a zip archive."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [
                name
                for name in archive.namelist()
                if not name.startswith("__MACOSX/") and not name.endswith("/")
            ]
            if "[Content_Types].xml" in names or "mimetype" in names:
                raise ValueError("is a workbook or a document; save the sheet as CSV (UTF-8)")
            if len(names) != 1:
                inside = ", ".join(names) or "nothing"
                raise ValueError(f"is a zip archive of {inside}; unpack it, and name one file")
            return archive.read(names[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: is a zip archive that cannot be unpacked: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
