"""Measuring in lent minutes: what is packed, what the lists say, and what is done in which time."""

from __future__ import annotations

import json
import shutil
from importlib import metadata

import pytest
from documentation import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu import drive, pack, probe
from benchmarks.gpu.drive import Pace, Step, read_steps
from torchmodes.planning.cases import parse_case
from torchmodes.planning.plan import Plan
from torchmodes.results.records import read_record

LISTS = sorted((ROOT / "benchmarks/gpu/cases").glob("*.txt"))
CASE = "inference/cuda/house_price/eager/fp32-b64"


# --- Lists -----------------------------------------------------------------------------------


def test_a_line_is_a_case_a_profile_or_a_word():
    text = f"""
        # a comment
        9 {CASE}
        9.5 {CASE} fresh  # and why
        15 profile {CASE}
        10 machine
        6 report
    """
    on_cpu = parse_case(CASE.replace("cuda", "cpu"))
    assert read_steps(text, device="cpu") == [
        Step(9, "benchmark", on_cpu),
        Step(9.5, "benchmark", on_cpu, "fresh"),
        Step(15, "profile", on_cpu),
        Step(10, "machine"),
        Step(6, "report"),
    ]
    assert read_steps(f"9 {CASE}", device="cuda") == [Step(9, "benchmark", parse_case(CASE))]


@pytest.mark.parametrize("line", ["9 resnet50", f"9 {CASE} twice", "9", f"{CASE}", "9 study"])
def test_a_line_that_is_none_of_these_is_named(line):
    with pytest.raises(ValueError, match="line 2, "):
        read_steps(f"6 report\n{line}", device="cuda")


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_the_lists_that_ship_name_cases_of_the_configuration(path):
    config = drive.read_config()
    steps = read_steps(path.read_text(), device="cuda")
    assert steps
    for step in steps:
        if step.case is not None:
            Plan(config, step.case)
    benchmarked = [step.case for step in steps if step.verb == "benchmark"]
    assert len(set(benchmarked)) == len(benchmarked)
    for number, case in enumerate(benchmarked):
        # Without the A/A case before it a case has no noise floor.
        assert case.is_baseline or case.baseline in benchmarked[:number] or path.stem == "B"


# --- Time ------------------------------------------------------------------------------------


class Clock:
    """A clock that goes on only as steps take time."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


def test_what_does_not_fit_is_left_out_and_a_fault_costs_one_step(capsys):
    clock = Clock()
    steps = [Step(10, "machine"), Step(20, "report"), Step(60, "machine"), Step(10, "report")]
    given = []

    def do(step, *, within_s):
        given.append(within_s)
        clock.at += 2 * step.expected_s
        if step == steps[1]:
            raise RuntimeError("it broke")

    assert drive.drive(steps, do, seconds=75, now=clock) == [steps[0], steps[1], steps[3]]
    assert given == [75, 55, 15]
    told = capsys.readouterr().out
    assert "-- machine: left out, 15 s are left" in told
    assert "RuntimeError: it broke" in told
    assert "20.0 s of 10 expected; the other 3: about 180 s at the pace so far" in told


def test_the_rest_takes_as_long_as_expected_until_something_was_measured():
    rest = [Step(10, "machine"), Step(30, "report")]
    assert Pace().left_s(rest) == 40
    assert Pace().after(Step(10, "machine"), 5.0).left_s(rest) == 20


# --- One case, really ------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, on the CPU, with the shortest measurement that can be judged."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KIT_DEVICE", "cpu")
    short = tmp_path / "short.yaml"
    short.write_text("measurement: { budget_s: 0.3, warmup_budget_s: 0.3 }")
    monkeypatch.setattr(drive.read_config, "__defaults__", ((*drive.CONFIGS, short),))
    return tmp_path


def test_a_case_is_measured_and_reported_on_the_cpu(folder, capsys):
    (folder / "list.txt").write_text(f"60 {CASE}\n30 {CASE}\n30 report\n")
    assert drive.main(["list.txt", "600"]) == 0
    told = capsys.readouterr().out
    record = read_record(folder / "results/benchmark" / f"{CASE.replace('cuda', 'cpu')}.json")
    assert record.status == "ok", told
    assert record.in_brief() in told
    assert "by events ?" in told, "a CPU has none"
    assert "there already" in told
    assert "of 1 records and 0 profiles" in told
    assert "house_price" in (folder / "reports/report.html").read_text()


def test_a_case_that_this_list_had_no_time_for_leaves_no_record(folder, monkeypatch, capsys):
    monkeypatch.setattr(drive, "SHORTEST_S", 0.2)
    (folder / "list.txt").write_text(f"0 {CASE}\n")
    drive.main(["list.txt", "0.3"])
    assert "not kept: what ended it is the time of this list" in capsys.readouterr().out
    assert not list(folder.glob("results/**/*.json"))


def test_of_a_long_trace_both_ends_are_shown():
    """Where a case hung stands first, what it raised last."""
    shown = drive._ends("\n".join(str(number) for number in range(100)), lines=2)
    assert shown.split() == ["0", "1", "…", "96", "lines", "98", "99"]
    assert drive._ends("one\ntwo", lines=1).split() == ["one", "two"]


def test_a_list_that_cannot_be_read_is_told_in_a_line(folder, monkeypatch, capsys):
    assert drive.main(["missing.txt", "9"]) == 1
    assert "missing.txt" in capsys.readouterr().out
    (folder / "list.txt").write_text("6 report\n")
    monkeypatch.setenv("KIT_DEVICE", "tpu")
    assert drive.main(["list.txt", "9"]) == 1
    assert capsys.readouterr().out == "list.txt: KIT_DEVICE: 'tpu' is neither cpu nor cuda\n"


def test_a_question_that_fails_is_answered_by_its_fault(capsys):
    def fail():
        raise RuntimeError("no GPU here")

    found = probe.ask({"what is there": lambda: {"GPUs": 0}, "its clock": fail})
    assert found == {
        "what is there": {"GPUs": 0},
        "its clock": "fails: RuntimeError: no GPU here",
    }
    assert json.dumps(found["what is there"]) in capsys.readouterr().out


# --- What is packed --------------------------------------------------------------------------

LOCK = """\
# a comment
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   torchmodes
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
pywin32==311 ; sys_platform == 'win32' \\
    --hash=sha256:dd
PyYAML==6.0.3 \\
    --hash=sha256:ee
"""


def test_versions_and_hashes_are_those_of_the_lock_for_the_machine():
    assert pack.pinned(LOCK, ["numpy", "pyyaml"], python_version="3.12") == {
        "numpy": "numpy==2.5.5 --hash=sha256:cc",
        "pyyaml": "PyYAML==6.0.3 --hash=sha256:ee",
    }
    older = pack.pinned(LOCK, ["numpy"], python_version="3.11")
    assert older == {"numpy": "numpy==2.4.6 --hash=sha256:aa --hash=sha256:bb"}
    with pytest.raises(ValueError, match=r"requirements.lock has no pywin32 for Python 3.12"):
        pack.pinned(LOCK, ["numpy", "pywin32"], python_version="3.12")


def test_a_list_of_packages_says_which_have_no_wheel_and_which_lie_apart():
    text = "# why\nPydantic_Core\nthrottler source # no wheel\ntorchao apart\n"
    assert pack.read_names(text) == [
        pack.Wanted("pydantic-core"),
        pack.Wanted("throttler", "source"),
        pack.Wanted("torchao", "apart"),
    ]
    with pytest.raises(ValueError, match="line 1: 'throttler wheel'"):
        pack.read_names("throttler wheel")


def test_all_that_is_packed_is_locked(tmp_path, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(pack, "fetch", lambda pins, folder, command: fetched.extend(pins))
    (tmp_path / "kit/wheels").mkdir(parents=True)
    (tmp_path / "kit/wheels/older.whl").touch()
    (tmp_path / "kit/mine.txt").touch()
    assert pack.main(["--output", str(tmp_path / "kit")]) == 0
    names = pack.read_names(pack.NAMES.read_text())
    assert len(fetched) == len(names) > 30
    assert all("--hash=sha256:" in pin for pin in fetched)
    assert {path.name for path in (tmp_path / "kit").iterdir()} == {"device.sh", "mine.txt"}
    assert f"{len(names)} packages" in capsys.readouterr().out


def needed(*packages):
    """Return all that some packages need on Linux, themselves included, as is installed here."""
    machine = {"extra": "", "python_version": "3.12", "python_full_version": "3.12.0"}
    found, left = set(), list(packages)
    while left:
        name = canonicalize_name(left.pop())
        if name not in found:
            found.add(name)
            for line in metadata.requires(name) or []:
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate(machine):
                    left.append(requirement.name)
    return found


def test_nothing_is_missing_that_snakemake_needs_and_an_image_with_pytorch_lacks():
    there = needed("torch", "torchvision", "onnx", "matplotlib", "psutil", "PyYAML", "pytest")
    packed = {package.name for package in pack.read_names(pack.NAMES.read_text())}
    assert needed("snakemake", "pydantic", "rich", "nvidia-ml-py") - there <= packed


def test_the_script_is_valid_and_names_files_that_are_there():
    bash = shutil.which("bash")
    assert bash is not None
    script = pack.SCRIPT.read_text()
    assert pack.subprocess.run([bash, "-n", pack.SCRIPT]).returncode == 0
    for word in script.replace('"', " ").split():
        if word.startswith(("tests/", "benchmarks/gpu/")) and "$" not in word:
            assert (ROOT / word).is_file(), word
    usage = pack.subprocess.run([bash, pack.SCRIPT, "C", "9"], capture_output=True, text=True)
    assert (usage.returncode, usage.stdout.split()[0]) == (2, "bash")
