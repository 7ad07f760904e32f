"""One process imports; every case is a clean fork of it, and it is gone with its workflow."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent / "targets"))

from supervision import (
    all_gone,
    job_command,
    noted,
    outcome_of,
    server_of,
    start_workflow,
    wait_until,
)

from torchmodes.processes import folders, forkserver
from torchmodes.processes.forkserver import ServerUnavailableError, Service
from torchmodes.processes.jobs import PRELOAD
from torchmodes.processes.supervise import Outcome, run_supervised
from torchmodes.processes.workflow import workflow_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fork server needs Linux")

Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let cases have their private folders where the test's own are."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(target: str, argument: dict[str, Any] | None = None, **parameters: Any) -> Outcome:
        module = "" if ":" in target else "faulty_targets:"
        parameters = {"log": tmp_path / "case.log", "time_limit_s": 30.0, **parameters}
        return run_supervised(module + target, argument or {}, **parameters)

    return run


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module, under a name of its own, that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)

    def module(source: str) -> str:
        name = f"module_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return module


COUNTS_IMPORTS = """
import os, pathlib, time
with pathlib.Path(__file__).with_suffix(".imports").open("a") as imports:
    imports.write(f"{os.getpid()}\\n")
time.sleep(0.5)
"""


def imports(name: str, tmp_path: Path) -> list[str]:
    return (tmp_path / f"{name}.imports").read_text().split()


# --- One server, clean children --------------------------------------------------------------


def test_the_modules_are_imported_once(run: Run, module: Callable, tmp_path: Path) -> None:
    name = module(COUNTS_IMPORTS)
    first, second = (run("surroundings", preload=[name]) for _ in range(2))
    assert len(imports(name, tmp_path)) == 1
    assert first.start_method == second.start_method == "fork"  # what `auto` chooses
    assert first.value["pid"] != second.value["pid"]
    assert first.import_s == second.import_s >= 0.5
    assert second.start_s < 0.5


def test_jobs_that_start_at_once_end_up_with_one_server(tmp_path: Path) -> None:
    (tmp_path / "counted.py").write_text(COUNTS_IMPORTS)
    folders = [tmp_path / str(i) for i in range(4)]
    for folder in folders:
        folder.mkdir()
    jobs = [job_command(folder, "echo", {}, preload=["counted"]) for folder in folders]
    workflow = start_workflow(tmp_path, *jobs, path=tmp_path)
    assert workflow.wait(30) == 0
    assert [outcome_of(folder)["start_method"] for folder in folders] == ["fork"] * 4
    assert len(imports("counted", tmp_path)) == 1


def test_a_child_is_clean(run: Run) -> None:
    seen = run("surroundings", start="fork", preload=["numpy"]).value
    assert seen["threads"] == 1
    # Nothing of this package comes from the server: it may have been edited since that started.
    assert "torchmodes.processes.forkserver_main" not in seen["modules"]
    assert "torchmodes.processes.child" in seen["modules"]
    assert "TORCH_WARM_POOL" not in seen["environment"]


def test_a_temporary_folder_chosen_while_importing_is_not_the_childs(
    run: Run, module: Callable
) -> None:
    name = module("import tempfile; tempfile.gettempdir()")
    seen = run("surroundings", preload=[name]).value
    assert seen["temporary"] == seen["environment"]["TMPDIR"]


def test_what_an_import_sets_in_the_environment_counts(run: Run, module: Callable) -> None:
    name = module("import os; os.environ.setdefault('SET_BY_IMPORT', 'by the module')")
    assert run("surroundings", preload=[name]).value["set_by_import"] == "by the module"
    chosen = run("surroundings", preload=[name], environment={"SET_BY_IMPORT": "by the caller"})
    assert chosen.value["set_by_import"] == "by the caller"


def test_a_variable_read_while_importing_has_a_server_of_its_own(
    run: Run, module: Callable, tmp_path: Path
) -> None:
    name = module(COUNTS_IMPORTS)
    for level in ("1", "2", "1"):
        run("echo", preload=[name], environment={"TORCH_SOMETHING": level})
    run("echo", preload=[name], environment={"TORCH_SOMETHING": "1", "MY_OWN": "x"})
    assert len(imports(name, tmp_path)) == 2


def test_another_code_of_this_package_has_a_server_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(("json",), {}, psutil.Process(1))
    name = service.name()
    assert name == Service(("json",), {}, psutil.Process(1)).name()
    package = shutil.copytree(Path(forkserver.__file__).parent, tmp_path / "processes")
    monkeypatch.setattr(forkserver, "__file__", str(package / "forkserver.py"))
    assert service.name() == name
    with (package / "monitor.py").open("a") as module:
        module.write("# edited\n")
    assert service.name() != name


def test_a_crash_of_a_child_leaves_the_server_alone(run: Run, module: Callable) -> None:
    name = module("import os; os.environ['SET_BY_IMPORT'] = str(os.getpid())")
    server = run("surroundings", preload=[name]).value["set_by_import"]
    for target, kind in (("segfaults", "killed"), ("kills_itself", "killed"), ("exits", "lost")):
        assert run(target, preload=[name]).kind == kind
    assert run("surroundings", preload=[name]).value["set_by_import"] == server


def test_a_child_is_the_first_to_go_when_memory_runs_out(run: Run) -> None:
    assert run("oom_score", start="fork", preload=["json"]).value == 1000


@pytest.mark.parametrize("monitor_too", [False, True])
def test_a_job_that_is_killed_leaves_the_server_to_the_others(
    tmp_path: Path, monitor_too: bool
) -> None:
    (tmp_path / "counted.py").write_text(COUNTS_IMPORTS)
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    first = job_command(tmp_path, "starts_runaways", argument, preload=["counted"])
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    second = job_command(second_folder, "echo", {}, preload=["counted"])
    workflow = start_workflow(tmp_path, first, then=[second], wait_s=2, path=tmp_path)
    found = noted(note)
    (job,) = psutil.Process(workflow.pid).children()
    monitor = found[-1].parent()
    assert monitor is not None
    if monitor_too:
        monitor.suspend()  # it shall not notice that its client ends
    job.kill()
    if monitor_too:
        monitor.kill()
    wait_until(lambda: all_gone(found), within_s=2)
    assert workflow.poll() is None
    workflow.wait(20)
    assert outcome_of(second_folder)["start_method"] == "fork"
    assert len(imports("counted", tmp_path)) == 1


# --- A server that cannot be -----------------------------------------------------------------


def test_a_module_that_is_missing_is_an_outcome_until_it_is_there(
    run: Run, module: Callable, tmp_path: Path
) -> None:
    missing = f"module_{tmp_path.name}"
    outcome = run("echo", start="fork", preload=[missing])
    assert (outcome.kind, outcome.error_type) == ("raised", "ModuleNotFoundError")
    assert outcome.message == f"No module named '{missing}'"
    assert "`make` installs all of requirements.lock" in str(outcome.remedy)
    assert outcome.traceback is not None
    assert outcome.traceback in (tmp_path / "case.log").read_text()
    assert run("echo", start="fork", preload=[module("")]).kind == "returned"


def test_a_module_may_not_bring_this_package_along(run: Run, module: Callable) -> None:
    name = module("import torchmodes.processes.outcome")
    outcome = run("echo", start="fork", preload=[name])
    assert (outcome.kind, outcome.error_type) == ("raised", "ValueError")
    assert f"preload: {name} imports torchmodes.processes.outcome" in outcome.message


def test_a_server_with_threads_does_not_fork(
    run: Run, module: Callable, caplog: pytest.LogCaptureFixture
) -> None:
    name = module(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(99,), daemon=True).start()"
    )
    with pytest.raises(ServerUnavailableError, match="started 1 threads: forking is not safe"):
        run("echo", start="fork", preload=[name])
    outcome = run("echo", {"x": 1}, start="auto", preload=[name])
    assert (outcome.value, outcome.start_method) == ({"x": 1}, "fresh")
    assert "forking is not safe; the case runs in a fresh process instead" in caplog.text


HOLDS_A_GPU = {
    "by its device": """
import pathlib
held = pathlib.Path(__file__).with_name("nvidia-uvm").open("w")
""",
    "by PyTorch's word": """
import sys, types
cuda = types.SimpleNamespace(is_initialized=lambda: True)
sys.modules["torch"] = types.ModuleType("torch")
sys.modules["torch"].cuda = cuda
""",
}


@pytest.mark.parametrize("how", HOLDS_A_GPU)
def test_a_server_that_has_initialised_the_gpu_does_not_fork_and_names_the_module(
    run: Run, module: Callable, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    name = module(HOLDS_A_GPU[how])
    told = f"importing {name} initialised the GPU: a fork could not use it"
    with pytest.raises(ServerUnavailableError, match=told):
        run("echo", start="fork", preload=["json", name, "string"])
    outcome = run("echo", {"x": 1}, start="auto", preload=["json", name, "string"])
    assert (outcome.value, outcome.start_method) == ({"x": 1}, "fresh")
    assert f"{told}; the case runs in a fresh process instead" in caplog.text


def test_a_server_that_holds_a_gpu_forks_all_the_same_where_a_fork_can_use_cuda(
    run: Run, module: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NVML, which PyTorch asks whether there is a GPU, may keep open the device that CUDA opens."""
    code = "int cuInit(unsigned flags) { return 0; }"
    compiler = ["gcc", "-shared", "-o", str(tmp_path / "libcuda.so.1"), "-x", "c", "-"]
    subprocess.run(compiler, input=code, text=True, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    name = module(HOLDS_A_GPU["by its device"])
    assert run("echo", {"x": 1}, start="fork", preload=[name]).start_method == "fork"


def test_an_import_that_hangs_in_the_server_is_given_up(
    run: Run, module: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Long enough for the server itself to have started on a machine that is busy.
    monkeypatch.setattr("torchmodes.processes.supervise.START_LIMIT_S", 6.0)
    name = module("import time; time.sleep(600)")
    with pytest.raises(ServerUnavailableError, match="still importing at the time limit"):
        run("echo", start="fork", preload=[name])
    wait_until(lambda: f"{name}.py" in (tmp_path / "case.log").read_text(), within_s=3)


def squat(name: bytes, *, clients: int) -> tuple[socket.socket, list[socket.socket]]:
    """Take a server's name, and let so many wait in a queue of one that nobody takes them from."""
    squatter = socket.socket(socket.AF_UNIX)
    squatter.bind(name)
    squatter.listen(0)
    waiting = [socket.socket(socket.AF_UNIX) for _ in range(clients)]
    for client in waiting:
        client.connect(name)
    return squatter, waiting


@pytest.mark.timeout(60)
def test_a_name_whose_holder_takes_no_client_costs_a_moment_and_is_told(
    run: Run, module: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preload = [module("")]
    monkeypatch.setattr("torchmodes.processes.forkserver.CONNECT_LIMIT_S", 0.3)
    name = f"\0torchmodes-squatted-{preload[0]}-{os.getpid()}".encode()
    monkeypatch.setattr(Service, "name", lambda self: name)
    squatter, waiting = squat(name, clients=1)
    try:
        outcome = run("echo", {"x": 1}, start="auto", preload=preload)
    finally:
        for one in (squatter, *waiting):
            one.close()
    assert (outcome.value, outcome.start_method) == ({"x": 1}, "fresh")
    assert "is taken: no answer in 0.3 s; the case runs in a fresh process instead" in caplog.text


@pytest.mark.timeout(60)
@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_a_server_of_another_user_is_told_nothing(
    run: Run, module: Callable, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preload = [module("")]
    name = f"\0torchmodes-of-another-{preload[0]}-{os.getpid()}".encode()
    monkeypatch.setattr(Service, "name", lambda self: name)
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); name = sys.stdin.buffer.read();"
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); s.bind(name); s.listen();"
        "print('bound', flush=True); c, _ = s.accept(); print(c.recv(99))"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdin.write(name)
    other.stdin.close()
    assert other.stdout.readline() == b"bound\n"
    outcome = run("echo", {"x": 1}, start="auto", preload=preload)
    assert (outcome.value, outcome.start_method) == ({"x": 1}, "fresh")
    assert "the fork server's name is taken by user 65534" in caplog.text
    assert other.stdout.read() == b"b''\n"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_who_connects_is_told_nothing(
    run: Run, module: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    preload = [module("")]
    name = f"\0torchmodes-connected-{preload[0]}-{os.getpid()}".encode()
    monkeypatch.setattr(Service, "name", lambda self: name)
    assert run("echo", start="fork", preload=preload).kind == "returned"
    code = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); name = sys.stdin.buffer.read();"
        "os.setgroups([]); os.setgid({0}); os.setuid({0}); s.connect(name); print(s.recv(9) != b'')"
    )
    for user, greeted in ((0, b"True\n"), (65534, b"False\n")):
        command = [sys.executable, "-c", code.format(user)]
        other = subprocess.run(command, input=name, capture_output=True, check=True)
        assert other.stdout == greeted


# --- The server ends -------------------------------------------------------------------------


def test_a_case_whose_server_is_killed_is_lost_and_the_next_has_a_new_one(tmp_path: Path) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    first = job_command(tmp_path, "starts_runaways", argument, start="fork")
    second_folder = tmp_path / "second"
    second_folder.mkdir()
    second = job_command(second_folder, "echo", {}, start="fork")
    workflow = start_workflow(tmp_path, first, then=[second])
    found = noted(note)
    server = server_of(workflow.pid)
    assert server is not None
    server.kill()
    workflow.wait(20)
    assert outcome_of(tmp_path)["kind"] == "lost"
    assert outcome_of(tmp_path)["message"] == "ended because the fork server did"
    assert all_gone(found)
    assert outcome_of(second_folder)["message"] is None


def family(workflow: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the server of a workflow and all its descendants."""
    server = wait_until(lambda: server_of(workflow.pid), within_s=30)
    return [server, *server.children(recursive=True)]


@pytest.mark.parametrize("start", ["fork", "fresh"])
def test_server_and_case_end_with_the_workflow_even_by_kill_9(tmp_path: Path, start: str) -> None:
    note = tmp_path / "note"
    argument = {"note": str(note), "stays": True}
    job = job_command(tmp_path, "starts_runaways", argument, start=start)
    workflow = start_workflow(tmp_path, job)
    found = noted(note)
    if start == "fork":
        found += family(workflow)
        assert len(found) == 3 + 5  # noted; server, monitor, and those that were noted
    workflow.kill()
    workflow.wait()
    wait_until(lambda: all_gone(found), within_s=1.5)
    # The job outlives Snakemake and hears of it.
    wait_until((tmp_path / "outcome.json").exists, within_s=5)
    assert outcome_of(tmp_path)["message"] == "ended because the workflow did"


def test_a_monitor_that_hangs_does_not_outlive_the_workflow(tmp_path: Path) -> None:
    note = tmp_path / "note"
    job = job_command(tmp_path, "hangs", {"note": str(note)}, start="fork")
    workflow = start_workflow(tmp_path, job)
    found = noted(note) + family(workflow)
    monitor = found[0].parent()
    assert monitor is not None
    monitor.suspend()
    workflow.kill()
    workflow.wait()
    wait_until(lambda: all_gone(found), within_s=2)


def test_the_server_ends_with_a_workflow_that_just_finishes(tmp_path: Path) -> None:
    workflow = start_workflow(tmp_path, job_command(tmp_path, "echo", {}, start="fork"), wait_s=0.5)
    server = wait_until(lambda: server_of(workflow.pid), within_s=30)
    assert workflow.wait(30) == 0
    wait_until(lambda: all_gone([server]), within_s=1.5)


def test_a_server_that_still_imports_ends_with_the_workflow(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time; time.sleep(600)")
    job = job_command(tmp_path, "echo", {}, start="fork", preload=["slow"])
    workflow = start_workflow(tmp_path, job, path=tmp_path)
    server = wait_until(lambda: server_of(workflow.pid), within_s=30)
    workflow.kill()
    workflow.wait()
    wait_until(lambda: all_gone([server]), within_s=2)


def test_without_snakemake_the_calling_process_is_the_workflow() -> None:
    assert workflow_process().pid == os.getpid()


# --- PyTorch, preloaded ----------------------------------------------------------------------

TORCH = ("torch", "torch._dynamo")


def test_torch_multiplies_on_several_threads_in_a_fork(run: Run) -> None:
    outcome = run("torch_targets:multiply", start="fork", preload=TORCH, threads=2)
    assert outcome.kind == "returned", outcome.message
    assert outcome.value["close"]
    assert outcome.value["os_threads"] > 1
    assert not outcome.value["cuda_initialised"]
    assert not outcome.value["cuda_in_bad_fork"]


NVML_WITH_A_THREAD = """
#include <pthread.h>
#include <unistd.h>

static void *wait(void *unused) { for (;;) pause(); }
int nvmlInit(void) { pthread_t thread; return pthread_create(&thread, 0, wait, 0); }
int nvmlDeviceGetCount_v2(int *count) { *count = 1; return 0; }
"""


def test_asking_nvml_starts_no_thread_in_the_server(
    run: Run, module: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver's NVML may keep a thread, and PyTorch asks it at imports whether there is a GPU."""
    library = str(tmp_path / "libnvidia-ml.so.1")
    compiler = ["gcc", "-shared", "-fPIC", "-pthread", "-o", library, "-x", "c", "-"]
    subprocess.run(compiler, input=NVML_WITH_A_THREAD, text=True, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    asking = module("import torch\nassert torch.cuda.is_available(), 'NVML counts one'")
    outcome = run("torch_targets:count_gpus", start="fork", preload=["torch", asking])
    assert outcome.value == {"cached": None, "counted": 1}, outcome.message


def test_torch_compiles_in_a_fork_cold_each_time_and_leaves_nothing(
    run: Run, tmp_path: Path
) -> None:
    """Not by times: the files that Inductor found and made, and nobody else's among them."""
    planted = Path(tempfile.gettempdir(), f"torchinductor_{getpass.getuser()}")
    (planted / "precompiled_headers").mkdir(parents=True)  # anybody can foresee this name
    (planted / "precompiled_headers").chmod(0o777)
    outcomes = [
        run(
            "torch_targets:compile_cold",
            start="fork",
            preload=PRELOAD,
            threads=2,
            time_limit_s=200,
        )
        for _ in range(2)
    ]
    for outcome in outcomes:
        assert outcome.kind == "returned", outcome.message
        assert outcome.peak_children_bytes > 50_000_000, "the C++ compiler's"
    cold = [outcome.value for outcome in outcomes]
    for found in cold:
        assert found["close"]
        assert found["graphs"] == 1
        assert found["libraries"] > 0
        assert found["before"] == []
        assert found["headers_in_cache"] > 0
        assert found["elsewhere"] == []
        # Inductor's wrapper_benchmark is a program, and no case runs it.
        fixed = [name for name in found["of_the_server"] if ".wrapper_benchmark." not in name]
        assert fixed == [], "paths of the server's that an import has kept"
    assert cold[0]["headers_in_cache"] == cold[1]["headers_in_cache"]
    assert not list((planted / "precompiled_headers").iterdir())
    left = [path for path in Path(tempfile.gettempdir()).rglob("*") if path.is_file()]
    assert [path.name for path in left] == [folders.MARK], "the server's own, while it lives"
