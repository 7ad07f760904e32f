"""The digest of the code behind a result: it follows imports, and nothing else."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from torchmodes.config.modes import ENGINES
from torchmodes.planning import provenance
from torchmodes.planning.provenance import code_digest, compilers, file_digest, installed
from torchmodes.workloads.modes import engine_module

ROOT = Path(__file__).parents[2]
SCRIPT = "scripts/measure.py"
PROJECT = {
    SCRIPT: "from torchmodes.measure import sampler\n",
    "torchmodes/__init__.py": "",
    "torchmodes/measure/__init__.py": "",
    "torchmodes/measure/sampler.py": "from torchmodes.measure.clock import now\nimport math\n",
    "torchmodes/measure/clock.py": "def now():\n    import torchmodes.machine.devices\n",
    "torchmodes/machine/devices.py": "from torchmodes.measure import sampler  # a circle\n",
    "torchmodes/plots.py": "import torchmodes.machine.devices\n",
    "torchmodes/engines/fast.py": "from torchmodes.engines import base\n",
    "torchmodes/engines/base.py": "",
    "torchmodes/engines/slow.py": "",
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Stand a small project in this one's place."""
    write(tmp_path, PROJECT)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._imports.cache_clear()
    yield tmp_path
    provenance._imports.cache_clear()


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def changes(root, name, *modules):
    """Tell whether the script's digest changes with one more line in a file."""
    before = code_digest(SCRIPT, *modules)
    with (root / name).open("a") as file:
        file.write("\nA_NEW_LINE = 1\n")
    provenance._imports.cache_clear()  # as for another start of the workflow
    return code_digest(SCRIPT, *modules) != before


@pytest.mark.parametrize(
    "name",
    [
        SCRIPT,
        "torchmodes/measure/sampler.py",
        "torchmodes/measure/clock.py",
        "torchmodes/machine/devices.py",
    ],
    ids=["the script", "imported", "imported by that", "imported inside a function"],
)
def test_an_edit_of_what_the_script_runs_through_changes_the_digest(project, name):
    assert changes(project, name)


@pytest.mark.parametrize("name", ["torchmodes/plots.py", "torchmodes/engines/fast.py"])
def test_an_edit_of_anything_else_does_not(project, name):
    assert not changes(project, name)


def test_modules_chosen_by_name_count_with_all_they_import(project):
    chosen = "torchmodes.engines.fast"
    assert changes(project, "torchmodes/engines/fast.py", chosen)
    assert changes(project, "torchmodes/engines/base.py", chosen)
    assert not changes(project, "torchmodes/engines/slow.py", chosen)


def test_the_users_own_files_count(project):
    mine = project / "mine.py"
    missing = code_digest(SCRIPT, files=[mine])
    mine.write_text("one")
    first = code_digest(SCRIPT, files=[mine])
    mine.write_text("two")
    assert len({missing, first, code_digest(SCRIPT, files=[mine]), code_digest(SCRIPT)}) == 4


def test_what_the_users_file_imports_from_beside_it_counts(project):
    mine, beside = project / "mine.py", project / "layers.py"
    write(project, {"mine.py": "import os\nfrom layers import Block\nimport blocks.deep"})
    write(project, {"layers.py": "import mine  # a circle", "blocks/deep.py": "", "other.py": ""})

    def digest():
        return code_digest(SCRIPT, files=[mine])

    before = digest()
    (project / "other.py").write_text("x = 1")
    assert digest() == before, "nothing imports it"
    beside.write_text("x = 1")
    assert (after := digest()) != before
    (project / "blocks/deep.py").write_text("x = 1")
    assert digest() != after
    mine.write_text("not Python (")
    assert digest() != after, "a mistake is an edit as well"


@pytest.mark.parametrize(
    ("engine", "package"),
    [
        ("onnxruntime", "onnxruntime-gpu"),
        ("tensorrt", "torch-tensorrt"),
        ("tensorrt", "tensorrt-cu13"),
    ],
)
def test_another_version_of_a_package_for_gpus_makes_its_engines_results_stale(
    monkeypatch, engine, package
):
    before = installed(*ENGINES[engine].packages)
    versions = provenance.version
    monkeypatch.setattr(
        provenance, "version", lambda name: "9.9" if name == package else versions(name)
    )
    assert installed(*ENGINES[engine].packages) == before | {package: "9.9"} != before


def test_a_package_that_is_missing_is_part_of_the_state():
    found = installed("torch", "no-such-package")
    assert found["torch"]
    assert found["no-such-package"] is None


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o755)


def test_a_compiler_counts_by_its_name_wherever_it_lies(tmp_path):
    variables = {"PATH": str(tmp_path / "bin")}
    assert compilers(variables, cuda=False) == {"CXX": []}
    for name in ("c++", "ninja"):
        program(tmp_path / "bin" / name)
        program(tmp_path / "elsewhere" / name)
    found = compilers(variables, cuda=False)
    assert found == {"CXX": ["c++"]}
    assert found == compilers({"PATH": str(tmp_path / "elsewhere")}, cuda=False)


def test_the_compiler_that_cxx_names_counts_alone(tmp_path):
    for name in ("c++", "clang++-20", "ccache"):
        program(tmp_path / name)
    variables = {"PATH": str(tmp_path)}
    mine = f"ccache {tmp_path}/clang++-20"
    assert compilers({**variables, "CXX": mine}, cuda=False) == {"CXX": ["ccache clang++-20"]}
    assert compilers({**variables, "CXX": "no-such"}, cuda=False) == {"CXX": []}
    assert compilers({**variables, "CXX": ""}, cuda=False) == {"CXX": []}


def test_on_cuda_the_c_compiler_and_the_toolkit_count_too(tmp_path):
    def found(**variables):
        return compilers({"PATH": str(tmp_path / "bin"), **variables}, cuda=True)

    home = tmp_path / "cuda"
    assert found(CUDA_HOME=str(home))["CUDA"] == []
    program(home / "bin" / "nvcc")
    write(home, {"include/cuda.h": "", "include/other.h": ""})
    assert found(CUDA_HOME=str(home))["CUDA"] == ["bin/nvcc", "include/cuda.h"]
    assert found(CUDA_PATH=str(home)) == found(PATH=str(home / "bin")) | {"CC": []}
    assert found()["CC"] == []
    program(tmp_path / "bin" / "clang")
    assert found()["CC"] == ["clang"]
    assert found(CC="no-such")["CC"] == []


def test_the_digest_is_sixteen_digits_that_do_not_depend_on_where_the_project_lies(
    project, tmp_path, monkeypatch
):
    before = code_digest(SCRIPT)
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, PROJECT)
    monkeypatch.setattr(provenance, "ROOT", elsewhere)
    assert code_digest(SCRIPT) == before
    assert len(before) == 16
    assert int(before, 16) >= 0


def test_file_digest_is_sha_256(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


# --- This project ----------------------------------------------------------------------------


@pytest.fixture
def copy_of_this_project(tmp_path, monkeypatch):
    for folder in ("torchmodes", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._imports.cache_clear()
    yield tmp_path
    provenance._imports.cache_clear()


@pytest.mark.parametrize(
    ("name", "stale"),
    [
        ("torchmodes/measure/sampler.py", True),
        ("torchmodes/measure/statistics.py", True),
        ("torchmodes/processes/supervise.py", True),
        ("torchmodes/workloads/workload.py", True),
        ("torchmodes/workloads/models/base.py", True),
        ("torchmodes/workloads/modes/compile.py", True),
        ("torchmodes/workloads/modes/user.py", False),
        ("torchmodes/report/plots.py", False),
        ("torchmodes/profiling/trace.py", False),
    ],
)
def test_what_makes_a_measurement_of_torch_compile_stale(copy_of_this_project, name, stale):
    modules = ("scripts/benchmark_case.py", "torchmodes.measure.case", engine_module("compile"))
    assert changes_of_this(copy_of_this_project, name, *modules) == stale


@pytest.mark.parametrize("name", ["build", "compile"])
def test_how_the_operators_are_built_makes_them_stale(copy_of_this_project, name):
    """What compiles them is run as a script: the rule has to name it."""
    (rule,) = re.findall(
        r"code_digest\(\s*(\"scripts/build_operators.py\".*?)\bfiles=",
        (ROOT / "rules/train.smk").read_text(),
        re.DOTALL,
    )
    modules = re.findall(r"\"(.*?)\"", rule)
    assert changes_of_this(
        copy_of_this_project, f"torchmodes/workloads/operators/{name}.py", *modules
    )


def changes_of_this(root, name, *modules):
    def digest():
        provenance._imports.cache_clear()
        return code_digest(*modules)

    before = digest()
    with (root / name).open("a") as file:
        file.write("\nA_NEW_LINE = 1\n")
    return digest() != before
