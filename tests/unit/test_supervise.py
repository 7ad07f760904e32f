"""Whatever a case does, run_supervised comes back, says what happened and leaves nothing behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

TARGETS = Path(__file__).parent / "targets"
sys.path.insert(0, str(TARGETS))

from supervision import (  # noqa: E402
    ROOT,
    all_gone,
    noted,
    outcome_of,
    private_folders,
    start_job,
    wait_until,
)

from torchmodes.processes import memory, processes  # noqa: E402
from torchmodes.processes.monitor import GRACE_S, PAUSE_S  # noqa: E402
from torchmodes.processes.outcome import conclude  # noqa: E402
from torchmodes.processes.spec import Ending, ProcessSpec  # noqa: E402
from torchmodes.processes.supervise import Outcome, run_supervised  # noqa: E402
from torchmodes.processes.tree import ProcessTree  # noqa: E402

MB = 1_000_000
Run = Callable[..., Outcome]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the fork server needs Linux")
starts = pytest.mark.parametrize("start", ["fresh", pytest.param("fork", marks=needs_linux)])


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the test a temporary folder of its own, and see that no case leaves anything there."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield
    assert private_folders() == set()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a function of faulty_targets."""

    def run(target: str, argument: dict[str, Any] | None = None, **parameters: Any) -> Outcome:
        parameters = {"log": tmp_path / "case.log", "time_limit_s": 30.0, **parameters}
        return run_supervised(f"faulty_targets:{target}", argument or {}, **parameters)

    return run


# --- It returns ------------------------------------------------------------------------------


@starts
def test_a_value_comes_back(run: Run, start: str) -> None:
    outcome = run("echo", {"text": "grün", "list": [1, 2.5, None]}, start=start)
    assert outcome.kind == "returned"
    assert outcome.value == {"text": "grün", "list": [1, 2.5, None]}
    assert (outcome.error_type, outcome.message, outcome.traceback) == (None, None, None)
    assert outcome.start_method == start
    assert 0 <= outcome.wall_s < 1
    assert 0 < outcome.start_s < 10


def test_a_number_that_is_not_finite_becomes_null(run: Run) -> None:
    outcome = run("not_finite")
    assert outcome.value == {"median": None, "samples": [1.0, None, [2.0, None]]}


@starts
def test_the_case_has_the_surroundings_of_its_caller(
    run: Run, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "ein Ördner mit Leerzeichen"
    place.mkdir()
    (place / "json.py").write_text("raise ImportError('that of the present folder')")
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(tmp_path / "Module für alle")
    monkeypatch.setenv("OF_THE_CALLER", "ü")
    monkeypatch.setenv("REPLACED", "no")
    log = place / "new" / "the log.txt"
    seen = run(
        "surroundings", start=start, log=log, environment={"REPLACED": "yes"}, threads=3
    ).value
    assert seen["cwd"] == str(place)
    assert seen["sys_path"] == sys.path
    assert (seen["executable"], seen["prefix"]) == (sys.executable, sys.prefix)
    assert seen["input"] == ""
    assert seen["session"] == seen["pid"]  # Ctrl-C at the terminal is not for the case
    assert seen["environment"]["OF_THE_CALLER"] == "ü"
    assert seen["environment"]["REPLACED"] == "yes"
    assert seen["environment"]["OMP_NUM_THREADS"] == "3"
    assert "told on standard output" in log.read_text()
    assert "told on standard error" in log.read_text()


@starts
def test_the_temporary_folder_and_the_caches_are_private(run: Run, start: str) -> None:
    first, second = (run("surroundings", start=start).value for _ in range(2))
    for name in ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        places = [Path(seen["environment"][name]) for seen in (first, second)]
        assert places[0] != places[1]
        assert not any(place.exists() for place in places)
    assert first["temporary"] == first["environment"]["TMPDIR"]


def test_a_cache_of_the_callers_choice_stays(run: Run, tmp_path: Path) -> None:
    chosen = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    seen = run("surroundings", environment=chosen).value
    assert seen["environment"]["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)
    assert tmp_path.exists()


@starts
def test_garbage_on_standard_output_is_not_the_value(run: Run, start: str, tmp_path: Path) -> None:
    assert run("prints_garbage", start=start).value == "the truth"
    assert bytes(range(256)) in (tmp_path / "case.log").read_bytes()


@starts
def test_a_closed_output_does_not_matter(run: Run, start: str) -> None:
    assert run("closes_output", start=start).value == "still here"


@needs_linux
@starts
def test_the_name_of_a_process_may_be_any_bytes(run: Run, start: str) -> None:
    assert run("has_an_odd_name", start=start).kind == "returned"


@starts
def test_a_letter_that_the_log_lacks_is_escaped(
    run: Run, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    assert run("prints_any_letter", start=start).value == "printed"
    assert r"\udcff" in (tmp_path / "case.log").read_text(encoding="utf-8")


# --- It fails --------------------------------------------------------------------------------


@starts
def test_an_exception_is_told(run: Run, start: str, tmp_path: Path) -> None:
    outcome = run("raises", start=start)
    assert (outcome.kind, outcome.value, outcome.error_type) == ("raised", None, "RuntimeError")
    assert outcome.message == "the first line"
    assert "in raises" in outcome.traceback
    assert "the second line" in outcome.traceback
    assert "torchmodes/supervision" not in outcome.traceback
    assert outcome.traceback in (tmp_path / "case.log").read_text()


@pytest.mark.parametrize(
    ("target", "error_type", "message"),
    [
        ("runs_out_of_memory", "MemoryError", "MemoryError"),
        ("raises_without_message", "KeyboardInterrupt", "KeyboardInterrupt"),
        ("leaves", "SystemExit", "the target ended the process: SystemExit(3)"),
        (
            "leaves_with_what_cannot_be_told",
            "SystemExit",
            "the target ended the process: SystemExit(its message cannot be shown: ValueError)",
        ),
        ("raises_what_ends_who_tells_it", "Trap", "its message cannot be shown: SystemExit"),
        ("not_json", "TypeError", "Object of type object is not JSON serializable"),
        ("nowhere", "AttributeError", "module 'faulty_targets' has no attribute 'nowhere'"),
        ("cannot_write_its_value", "OSError", "[Errno 27] File too large"),
    ],
)
def test_every_exception_is_an_outcome(
    run: Run, target: str, error_type: str, message: str
) -> None:
    outcome = run(target)
    assert (outcome.kind, outcome.error_type, outcome.message) == ("raised", error_type, message)


def test_a_module_that_is_missing_is_an_outcome(run: Run) -> None:
    outcome = run("echo", start="fresh", preload=["not_installed"])
    assert (outcome.kind, outcome.error_type) == ("raised", "ModuleNotFoundError")
    assert outcome.message == "No module named 'not_installed'"
    assert outcome.remedy == "install it where this runs: `make` installs all of requirements.lock"


@needs_linux  # for /dev/full
def test_a_log_on_a_full_disk_is_an_outcome(run: Run) -> None:
    outcome = run("prints", log=Path("/dev/full"))
    assert (outcome.kind, outcome.error_type) == ("raised", "OSError")
    assert "No space left on device" in outcome.message


def test_a_message_that_cannot_be_told_is_an_outcome(run: Run) -> None:
    outcome = run("raises_what_cannot_be_told")
    assert (outcome.kind, outcome.error_type) == ("raised", "Mute")
    assert outcome.message == "its message cannot be shown: ValueError"


def test_of_a_message_of_megabytes_the_record_has_beginning_and_end(run: Run) -> None:
    outcome = run("raises_a_book", time_limit_s=15.0)
    assert (outcome.kind, outcome.message) == ("raised", "a tensor of a page")
    assert "in raises_a_book" in outcome.traceback
    assert "characters left out]" in outcome.traceback
    assert len(outcome.traceback) < 60_000


@pytest.mark.parametrize("header", [False, True])
def test_a_compiler_without_space_is_told_with_folder_and_remedy(
    run: Run, tmp_path: Path, header: bool
) -> None:
    temporary = tempfile.gettempdir()
    outcome = run("has_no_space", {"folder": None, "header": header})
    assert outcome.message == f"no space left in {temporary} (CppCompileError)"
    assert outcome.remedy == "free some space there, or set TMPDIR to a folder with more"
    cache = str(tmp_path / "cache")
    chosen = {"TORCHINDUCTOR_CACHE_DIR": cache}
    outcome = run("has_no_space", {"folder": cache}, environment=chosen)
    assert outcome.message == f"no space left in {cache} (CppCompileError)"
    assert outcome.remedy == "free some space there and run again"
    outcome = run("has_no_space", {"folder": "/home/ada/downloads"})
    assert outcome.message == "C++ compile error", "another disk than the case's"


def test_a_disk_that_is_still_full_needs_no_words(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchmodes.processes.outcome.FULL_DISK_BYTES", 2**63)
    outcome = run("exits")
    temporary = tempfile.gettempdir()
    told = "exited with status 3 without a result"
    assert outcome.message == f"no space left in {temporary} ({told})"
    assert run("raises").message.startswith("the first line"), "not every exception is for that"


@starts
def test_an_exit_without_a_result_is_lost(run: Run, start: str) -> None:
    outcome = run("exits", start=start)
    assert (outcome.kind, outcome.error_type) == ("lost", "NoResult")
    assert outcome.message == "exited with status 3 without a result"


@starts
def test_a_segmentation_fault_is_told_with_its_place(run: Run, start: str, tmp_path: Path) -> None:
    outcome = run("segfaults", start=start)
    assert (outcome.kind, outcome.error_type) == ("killed", "SIGSEGV")
    assert outcome.message == "killed by SIGSEGV (segmentation fault)"
    assert "in segfaults" in outcome.traceback
    assert "in segfaults" in (tmp_path / "case.log").read_text()


@starts
def test_a_kill_is_told(run: Run, start: str) -> None:
    outcome = run("kills_itself", start=start)
    assert (outcome.kind, outcome.error_type) == ("killed", "SIGKILL")
    assert outcome.message == "killed by SIGKILL, not at one of its own limits"


def test_a_kill_by_the_kernel_for_want_of_memory_is_told(tmp_path: Path) -> None:
    spec = ProcessSpec(str(tmp_path), "", "fresh", 1, 1, None, {}, [], "", None, 1)
    ending = Ending("exited", None, int(signal.SIGKILL), 1.0, oom_killed=True)
    outcome = conclude(ending, spec, requested_at=0.0, import_s=0.0)
    assert "probably out of memory" in outcome.message


# --- It goes on for too long, or takes too much ----------------------------------------------


@starts
@pytest.mark.parametrize("target", ["hangs", "hangs_in_c", "hangs_deaf"])
def test_a_hang_ends_at_the_time_limit(run: Run, target: str, start: str) -> None:
    outcome = run(target, start=start, time_limit_s=0.5)
    assert (outcome.kind, outcome.error_type) == ("timed_out", "TimeLimit")
    assert outcome.message == "still running after 0.5 s: killed"
    assert 0.5 <= outcome.wall_s < 0.5 + GRACE_S["time"] + 2
    if target != "hangs_deaf":  # SIGTERM makes the interpreter say where it is
        assert f"in {target}" in (outcome.traceback or ""), outcome


def test_a_pause_of_monitor_and_case_is_not_the_cases_time(run: Run) -> None:
    argument = {"seconds": PAUSE_S + 1}
    outcome = run("pauses_its_monitor", argument, start="fresh", time_limit_s=PAUSE_S)
    assert (outcome.kind, outcome.value) == ("returned", "done")


def test_an_import_that_hangs_ends_at_its_own_limit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "never_imported.py").write_text("import time; time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("torchmodes.processes.supervise.START_LIMIT_S", 1.0)
    outcome = run("echo", start="fresh", preload=["never_imported"])
    assert (outcome.kind, outcome.error_type) == ("timed_out", "TimeLimit")
    assert outcome.message == "still importing after 1 s: killed"
    assert "never_imported.py" in outcome.traceback


@starts
def test_a_memory_hog_ends_at_the_memory_limit(run: Run, start: str) -> None:
    outcome = run("eats_memory", start=start, memory_limit_bytes=300 * MB)
    assert (outcome.kind, outcome.error_type) == ("killed", "MemoryLimit")
    assert outcome.message.endswith("of memory, its limit is 0.30 GB: killed")
    assert "in eats_memory" in outcome.traceback


@starts
def test_the_memory_of_a_child_counts(run: Run, start: str) -> None:
    outcome = run("child_holds", {"bytes": 400 * MB}, start=start, memory_limit_bytes=200 * MB)
    assert (outcome.kind, outcome.error_type) == ("killed", "MemoryLimit")


# --- Memory is measured ----------------------------------------------------------------------


@starts
def test_the_peak_is_the_true_one_also_when_freed(run: Run, start: str) -> None:
    outcome = run("holds", {"bytes": 200 * MB}, start=start)
    assert outcome.value == pytest.approx(200 * MB, rel=0.02)  # Linux counts by the batch, per core
    assert outcome.peak_children_bytes == 0


@starts
def test_the_peak_of_a_child_is_told_apart(run: Run, start: str) -> None:
    outcome = run("child_holds", {"bytes": 200 * MB}, start=start)
    assert 200 * MB <= outcome.peak_children_bytes < 240 * MB
    assert outcome.value < 100 * MB


@starts
def test_a_small_child_of_a_large_case_is_small(run: Run, start: str) -> None:
    outcome = run("holds_while_a_small_child_runs", {"bytes": 300 * MB}, start=start)
    assert outcome.value > 300 * MB
    assert outcome.peak_children_bytes < 50 * MB


def test_the_marks_that_count_are_the_childrens_last_and_those_seen_twice() -> None:
    tree = ProcessTree(10, "")
    tree._peaks = {10: [900, 500], 11: [900], 12: [300, 200]}
    assert tree.peak_children_bytes() == 200  # 11 was a fork of 10, about to be something else


@needs_linux  # elsewhere the mark cannot be reset
@starts
def test_what_an_import_held_for_a_moment_is_not_the_cases(
    run: Run, start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "large_import.py").write_text(f"held = b'x' * {300 * MB}; del held")
    monkeypatch.syspath_prepend(tmp_path)
    assert run("own_peak", start=start, preload=["large_import"]).value < 100 * MB


@needs_linux
def test_a_callers_own_memory_is_not_the_cases(run: Run) -> None:
    held = bytearray(500 * MB)
    assert run("own_peak", start="fresh").value < 100 * MB
    assert len(held) == 500 * MB


# --- Nothing is left -------------------------------------------------------------------------


@starts
@pytest.mark.parametrize("stays", [False, True])
def test_no_process_survives_the_case(run: Run, start: str, stays: bool, tmp_path: Path) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": stays}
    outcome = run("starts_runaways", argument, start=start, time_limit_s=2 if stays else 30)
    assert outcome.kind == ("timed_out" if stays else "returned")
    assert len(note.read_text().split()) == 3
    assert not any(psutil.pid_exists(int(pid)) for pid in note.read_text().split())


@starts
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_case_ends_with_its_client(tmp_path: Path, start: str, number: signal.Signals) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    job = start_job(tmp_path, "starts_runaways", argument, start=start)
    found = noted(note)
    job.send_signal(number)
    job.wait(10)
    wait_until(lambda: all_gone(found), within_s=2)
    wait_until(lambda: private_folders() == set(), within_s=2)


@starts
def test_ctrl_c_comes_back_when_nothing_of_the_case_is_left(tmp_path: Path, start: str) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    job = start_job(tmp_path, "starts_runaways", argument, start=start)
    found = noted(note)
    keeping = found[-1].parent()
    assert keeping is not None
    keeping.suspend()  # on a busy machine it has its turn after a while
    job.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        job.wait(0.5)
    keeping.resume()
    job.wait(10)
    assert all_gone(found)


@starts
def test_a_case_whose_monitor_is_killed_is_lost(tmp_path: Path, start: str) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    with start_job(tmp_path, "starts_runaways", argument, start=start):
        found = noted(note)
        monitor = found[-1].parent()
        assert monitor is not None
        monitor.kill()
    outcome = outcome_of(tmp_path)
    assert (outcome["kind"], outcome["error_type"]) == ("lost", "SupervisorLost")
    assert outcome["message"] == "ended because its monitor did"
    wait_until(lambda: all_gone(found), within_s=2)


@needs_linux
@starts
def test_the_case_ends_also_when_client_and_monitor_are_killed_at_once(
    tmp_path: Path, start: str
) -> None:
    note = tmp_path / "note"
    job = start_job(tmp_path, "hangs", {"note": str(note)}, start=start)
    found = noted(note)
    monitor = found[-1].parent()
    assert monitor is not None
    monitor.suspend()  # it shall not notice that the client ends
    job.kill()
    job.wait()
    monitor.kill()
    wait_until(lambda: all_gone(found), within_s=2)
    for folder in private_folders():  # nobody was left to remove it
        shutil.rmtree(folder)


@pytest.mark.parametrize("client_dies", [False, True])
def test_it_works_where_only_psutil_knows_processes(tmp_path: Path, client_dies: bool) -> None:
    """As on macOS: no /proc, no pidfd, no subreaper, no fork server."""
    package = tmp_path / "package"
    for room in ("processes", "results"):
        shutil.copytree(ROOT / "torchmodes" / room, package / "torchmodes" / room)
    shutil.copy(ROOT / "torchmodes" / "__init__.py", package / "torchmodes")
    module = package / "torchmodes" / "processes" / "processes.py"
    there, elsewhere = 'LINUX = sys.platform == "linux"', "LINUX = False"
    assert there in module.read_text()
    module.write_text(module.read_text().replace(there, elsewhere))
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    case = {"package": package, "time_limit_s": 2 if not client_dies else 60}
    with start_job(tmp_path, "starts_runaways", argument, **case) as job:
        found = noted(note)
        if client_dies:
            job.kill()
    wait_until(lambda: all_gone(found), within_s=5)
    if not client_dies:
        assert outcome_of(tmp_path)["kind"] == "timed_out"
        assert outcome_of(tmp_path)["start_method"] == "fresh"
    wait_until(lambda: private_folders() == set(), within_s=2)


# --- What is asked for is checked ------------------------------------------------------------


def test_an_argument_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float values"):
        run_supervised("m:f", {"x": float("nan")}, log=tmp_path / "log", time_limit_s=1)


def test_a_fork_is_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LINUX", False)
    with pytest.raises(ValueError, match="start: 'fork' needs Linux"):
        run_supervised("m:f", {}, log=tmp_path / "log", time_limit_s=1, start="fork")


def test_counting_kills_for_want_of_memory_needs_no_proc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert memory.oom_kills() >= 0
    monkeypatch.setattr(memory, "Path", lambda *parts: tmp_path.joinpath("nowhere"))
    assert memory.oom_kills() == 0


def test_a_process_has_ended_before_it_is_waited_for_and_afterwards() -> None:
    assert not processes.ended(psutil.Process())
    child = subprocess.Popen(["sleep", "60"])
    process = psutil.Process(child.pid)
    assert not processes.ended(process)
    child.kill()
    wait_until(lambda: processes.ended(process), within_s=2)  # a zombie
    child.wait()
    assert processes.ended(process)
