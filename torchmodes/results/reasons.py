"""Reasons: what an exception says, in one line that names the cause.

Compilers and exporters wrap errors in advice, print the values of tensors, colour their text and
name files of the machine on which they were built. None of that belongs in a record, a page or a
table.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

LONGEST = 300
"""Characters of a reason; what is longer belongs in the traceback and the log."""

LONGEST_READ = 20_000
"""Characters of a message in which its cause is looked for."""

LONGEST_WORD = 40
"""Characters of a message that is one word, before which its class is told."""

WRAPPERS = frozenset(
    {
        "BackendCompilerFailed",
        "ConversionError",
        "FailOnRecompileLimitHit",
        "LoweringException",
        "OnnxExporterError",
        "TorchExportError",
    }
)
"""PyTorch's exceptions that say that something failed; their ``__cause__`` says what."""

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_CREDENTIALS = re.compile(r"""(?<=://)[^\s/?#"'<>]*@""")
_TENSOR = re.compile(
    r"\b(?:Parameter containing:\s*)?(?:tensor|array)\((?=[\[\d+-]|True|False|nan|inf)"
)
_NUMBER = r"[-+]?\d+\.\d*(?:e[-+]?\d+)?"
_NUMBERS = re.compile(rf"(?:{_NUMBER}[\s,;\[\]]+){{3,}}{_NUMBER}")
_BUILDER = re.compile(
    r"""(?:\s+at\s+)?["']?/\S{0,500}?\.(?:cc|cpp|cxx|cu|cuh|h|hpp)\b["']?(?::\d+)?,?\s*"""
    # The C++ function that follows, such as `int ort::{anonymous}::Take(const X&) [with T = int]`.
    r"(?:[\w:<>~&*{}, ]*?[\w}>~]::[\w:<>~{}]+\([^()]*(?:\([^()]*\)[^()]*)*\)(?:\s*const)?"
    r"(?:\s*\[with [^\]]*\])?\s*)?"
)
_ONNX_RUNTIME = re.compile(r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from \S+ failed:\s*")
_OPERATOR = re.compile(r"<OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>")
_RAISED = re.compile(r"^(?:\w+\.)*(\w*(?:Error|Exception|Interrupt): .+)$")
_REPEATED = re.compile(r"""^(\w+)\((["'])(.*)\2,?\)$""")
_PLACE = re.compile(r'File "(.+)", line \d+, in ')
_UNHINTED = re.compile(r"\s*\((?:unhinted|Size-like symbols): .*$")


def printable(text: str) -> str:
    """Leave out escape sequences of a terminal and control characters but new lines and tabs.

    Of a URL, name and password are left out: of a proxy, say.
    """
    plain = _CONTROL.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return _CREDENTIALS.sub("", plain)


def reason_of(error: BaseException) -> str:
    """Return the class and the cause of an exception, in one line."""
    root = root_of(error)
    name, told = type(root).__name__, cause_of(root)
    if _RAISED.match(told) or told.startswith(f"{name}: "):
        return told
    return f"{name}: {told}" if told else name


def root_of(error: BaseException) -> BaseException:
    """Follow the `WRAPPERS` to the exception that they wrap."""
    opened: set[int] = set()
    while type(error).__name__ in WRAPPERS and id(error) not in opened:
        opened.add(id(error))
        inner = getattr(error, "inner_exception", None) or error.__cause__
        if inner is None:
            break
        error = inner
    return error


def cause_of(error: BaseException) -> str:
    """Return what an exception says was the cause, in one line; empty where it says nothing.

    It has no control characters, no values of tensors and no path of the machine on which a library
    was built.
    """
    root = root_of(error)
    lines = _lines(_without_values(printable(_said(root)[:LONGEST_READ])))
    told = " ".join(_without_builder(_told(lines)).split())
    # A word alone tells nothing: of a KeyError it is the key.
    bare = told and " " not in told and len(told) <= LONGEST_WORD
    if isinstance(root, KeyError) or bare:
        told = f"{type(root).__name__}: {told}"
    return told if len(told) <= LONGEST else told[: LONGEST - 1] + "…"


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as fault:  # noqa: BLE001 - its class may be the user's, and faulty, too
        return f"its message cannot be shown: {type(fault).__name__}"


def _lines(text: str) -> list[str]:
    """Return the lines that say something; one that begins with a colon goes on with the last."""
    joined = re.sub(r"\s*\n\s*:\s*", ": ", text.strip())
    return [line for line in map(str.strip, joined.splitlines()) if line]


def _told(lines: list[str]) -> str:
    """Choose what tells the cause from the messages of PyTorch's compilers."""
    if not lines:
        return ""
    if told := [line for line in lines if not line.startswith("Exception from ")]:
        lines = told  # OpenVINO's own files, before what failed in them
    first = lines[0]
    if first.startswith("Check '") and len(lines) > 1:  # OpenVINO
        return _after(lines, "-- ") or lines[1]
    if first.startswith("The following operation failed in the TorchScript interpreter"):
        raised = filter(None, map(_RAISED.match, lines))
        return next((found[1] for found in raised), first)
    if explanation := _after(lines, "Explanation: "):
        first = _of_dynamo(first, explanation, lines)
    elif first.startswith("Arguments for call are not valid"):
        first = next((line for line in lines if line.startswith("Expected a value")), first)
    code = _code(lines)
    if not code and first.endswith(":") and len(lines) > 1:
        return f"{first} {lines[1]}"
    told = _UNHINTED.sub("", first)
    return f"{told.rstrip(':.')}, in `{code}`" if code else told


def _of_dynamo(title: str, explanation: str, lines: list[str]) -> str:
    """Join what Dynamo could not do and why; of an error in the model, tell that error."""
    raised = _after(lines, "Developer debug context: raised exception ")
    if title == "Observed exception" and raised:
        return _REPEATED.sub(r"\1: \3", raised)
    if ": got " in explanation:  # the call that failed on fake tensors comes first
        return _REPEATED.sub(r"\1: \3", explanation.partition(": got ")[2])
    return f"{title}: {explanation}"


def _after(lines: Iterable[str], start: str) -> str | None:
    """Return the rest of the first line that begins so."""
    return next((line.removeprefix(start) for line in lines if line.startswith(start)), None)


def _code(lines: list[str]) -> str | None:
    """Return the line of the model's code that a message points at."""
    for before, line in pairwise(lines):
        if "<--- HERE" in line:
            return before
    for start in ("The following call raised this error:", "from user code:"):
        if start in lines:
            shown = [
                code
                for place, code in pairwise(lines[lines.index(start) + 1 :])
                if (found := _PLACE.match(place)) and "/torch/" not in found[1]
            ]
            return shown[-1] if shown else None
    return None


def _without_values(text: str) -> str:
    """Write tensors and rows of numbers as an ellipsis."""
    kept, end = "", 0
    while found := _TENSOR.search(text, end):
        kept += f"{text[end : found.start()]}a tensor"
        end = _closing(text, found.end())
    return _NUMBERS.sub("…", kept + text[end:])


def _closing(text: str, start: int) -> int:
    """Return the end of what a parenthesis before `start` opens."""
    depth = 1
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if not depth:
            return place + 1
    return len(text)


def _without_builder(text: str) -> str:
    """Leave out source files and functions of the libraries, and the numbers of error classes."""
    shorter = _BUILDER.sub(" ", _OPERATOR.sub(r"\1", _ONNX_RUNTIME.sub("", text)))
    return shorter.strip(" :,") or text
