"""Functions to run under supervision: one for each way in which a case can end."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from torchmodes.processes.memory import own_memory


def echo(argument: dict[str, Any]) -> dict[str, Any]:
    return argument


def not_finite(argument: dict[str, Any]) -> dict[str, Any]:
    return {"median": float("nan"), "samples": [1.0, float("inf"), (2.0, float("-inf"))]}


def not_json(argument: dict[str, Any]) -> object:
    return object()


def surroundings(argument: dict[str, Any]) -> dict[str, Any]:
    print("told on standard output")
    print("told on standard error", file=sys.stderr)
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "sys_path": sys.path,
        "executable": sys.executable,
        "prefix": sys.prefix,
        "temporary": tempfile.gettempdir(),
        "input": sys.stdin.read(),
        "threads": psutil.Process().num_threads(),
        "modules": [name for name in sys.modules if name.startswith("torchmodes")],
        "set_by_import": os.environ.get("SET_BY_IMPORT"),
    }


def pauses_its_monitor(argument: dict[str, Any]) -> str:
    """Do as a container that is paused for a while: its processes sleep, time goes on."""
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(argument["seconds"])
    os.kill(os.getppid(), signal.SIGCONT)
    time.sleep(0.5)
    return "done"


def kills_its_monitor(argument: dict[str, Any]) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def oom_score(argument: dict[str, Any]) -> int:
    return int(Path("/proc/self/oom_score_adj").read_text())


def raises(argument: dict[str, Any]) -> None:
    raise RuntimeError("the first line\n\n  the second line\nthe third line")


def raises_no_text(argument: dict[str, Any]) -> None:
    told = os.fsdecode(argument["bytes"].encode("latin-1"))
    raise RuntimeError(f"no such file: {told} \ud800\x00")


def returns_no_text(argument: dict[str, Any]) -> dict[str, Any]:
    texts = {"reason": "\udc80", "remedy": "\udc81", "item": "\udcff"}
    return {"status": "failed", **texts, "facts": {"\ud800": ["\udfff"]}}


def raises_what_cannot_be_told(argument: dict[str, Any]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ValueError("and this neither")

    raise Mute


def raises_what_ends_who_tells_it(argument: dict[str, Any]) -> None:
    class Trap(Exception):
        def __str__(self) -> str:
            sys.exit(7)

    raise Trap


def raises_a_book(argument: dict[str, Any]) -> None:
    raise RuntimeError("tensor([1.5]) of a page\n" * 400_000)


def leaves_with_what_cannot_be_told(argument: dict[str, Any]) -> None:
    class Mute:
        def __repr__(self) -> str:
            raise ValueError("mute")

    sys.exit(Mute())


def has_no_space(argument: dict[str, Any]) -> None:
    """Fail as Inductor does when the compiler finds no space."""

    class CppCompileError(RuntimeError):
        pass

    file = f"{argument['folder'] or tempfile.gettempdir()}/ccX"
    header = "fatal error: cannot write PCH file"
    said = header if argument.get("header") else f"error writing to {file}: No space left on device"
    raise CppCompileError(
        f"C++ compile error\n\nCommand:\ng++ x.cpp -o {file}\n\nOutput:\nx.cpp: {said}\n"
    )


def prints_any_letter(argument: dict[str, Any]) -> str:
    print("\udcff \u00d7 \u2713")
    return "printed"


def has_an_odd_name(argument: dict[str, Any]) -> None:
    ctypes.CDLL(None).prctl(15, b"\xff\xfe", 0, 0, 0)  # PR_SET_NAME
    time.sleep(0.6)  # its monitor looks meanwhile


def raises_without_message(argument: dict[str, Any]) -> None:
    raise KeyboardInterrupt


def runs_out_of_memory(argument: dict[str, Any]) -> None:
    bytearray(1 << 60)


def leaves(argument: dict[str, Any]) -> None:
    sys.exit(3)


def exits(argument: dict[str, Any]) -> None:
    os._exit(3)


def segfaults(argument: dict[str, Any]) -> None:
    ctypes.string_at(8)


def kills_itself(argument: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(argument: dict[str, Any]) -> None:
    _note(argument)
    time.sleep(600)


def hangs_deaf(argument: dict[str, Any]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


def hangs_in_c(argument: dict[str, Any]) -> None:
    # PyDLL holds the interpreter's lock: no Python code runs in this process any more.
    ctypes.PyDLL(None).sleep(600)


def eats_memory(argument: dict[str, Any]) -> None:
    eaten = []
    while True:
        eaten.append(b"x" * 20_000_000)
        time.sleep(0.01)


def own_peak(argument: dict[str, Any]) -> int:
    return own_memory().peak_bytes


def holds(argument: dict[str, Any]) -> int:
    """Hold some memory for a moment, free it, and hold less; return by how much the peak rose."""
    before = own_memory().resident_bytes
    held = b"x" * argument["bytes"]
    del held
    return own_memory().peak_bytes - before


def child_holds(argument: dict[str, Any]) -> int:
    code = f"import time; held = b'x' * {argument['bytes']}; time.sleep(1)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return own_memory().peak_bytes


def holds_while_a_small_child_runs(argument: dict[str, Any]) -> int:
    held = b"x" * argument["bytes"]
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.6)"], check=True)
    del held
    return own_memory().peak_bytes


def prints_garbage(argument: dict[str, Any]) -> str:
    sys.stdout.flush()
    os.write(1, bytes(range(256)) * 400 + b'\n{"value": "a lie"}\n')
    return "the truth"


def closes_output(argument: dict[str, Any]) -> str:
    print("not yet flushed", end="")
    sys.stdout.close()
    os.close(2)
    return "still here"


def prints(argument: dict[str, Any]) -> str:
    print("into a full disk")
    return "unreachable"


def cannot_write_its_value(argument: dict[str, Any]) -> str:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return "x" * 1_000_000


def starts_runaways(argument: dict[str, Any]) -> str:
    """Start a child in a session of its own, whose child is an orphan and deaf to SIGTERM."""
    note = argument["note"]
    grandchild = (
        "import os, pathlib, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "pathlib.Path(sys.argv[1]).open('a').write(f'{os.getpid()}\\n'); time.sleep(600)"
    )
    code = (
        "import os, pathlib, subprocess, sys, time;"
        "pathlib.Path(sys.argv[1]).open('a').write(f'{os.getpid()}\\n');"
        "subprocess.Popen([sys.executable, '-c', sys.argv[2], sys.argv[1]],"
        " start_new_session=True);"
        "time.sleep(float(sys.argv[3]))"
    )
    stays_s = "600" if argument.get("stays") else "0"
    subprocess.Popen(
        [sys.executable, "-c", code, note, grandchild, stays_s], start_new_session=True
    )
    while len(Path(note).read_text().split() if Path(note).exists() else []) < 2:
        time.sleep(0.01)
    _note(argument)
    if argument.get("stays"):
        time.sleep(600)
    return "done"


def _note(argument: dict[str, Any]) -> None:
    if "note" in argument:
        with Path(argument["note"]).open("a") as note:
            note.write(f"{os.getpid()}\n")
        Path(argument["note"] + ".ready").touch()
