"""Functions from the user's own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from torchmodes.user_code import load_function, missing_files, user_file, user_files


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in an empty folder, and leave no trace of what was imported from it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in set(sys.modules):
        monkeypatch.setitem(sys.modules, name, sys.modules[name])
    yield tmp_path
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_function_is_loaded_from_a_file_relative_to_the_working_folder():
    write("mine/model.py", "def build(depth=1):\n    return depth + 1\n")
    assert load_function("mine/model.py:build")(depth=3) == 4


def test_the_file_may_import_its_neighbours():
    write("mine/layers.py", "WIDTH = 7\n")
    write("mine/model.py", "from layers import WIDTH\ndef build():\n    return WIDTH\n")
    assert load_function("mine/model.py:build")() == 7


def test_classes_of_the_file_can_be_found_by_their_module():
    """Pickle and torch.compile look a class up in ``sys.modules``."""
    write("model.py", "class Net:\n    pass\n")
    net = load_function("model.py:Net")
    assert getattr(sys.modules[net.__module__], net.__name__) is net


def test_a_file_named_like_a_module_of_python_does_not_take_its_place():
    write("json.py", "def build():\n    return 'mine'\n")
    assert load_function("json.py:build")() == "mine"
    assert sys.modules["json"] is json


def test_two_files_of_one_name_are_kept_apart():
    for name in ("a", "b"):
        write(f"{name}/model.py", f"class Net:\n    name = {name!r}\n")
    one, other = load_function("a/model.py:Net"), load_function("b/model.py:Net")
    assert (one.name, other.name) == ("a", "b")
    assert getattr(sys.modules[one.__module__], one.__name__) is one


def test_a_missing_file_is_named_with_where_it_was_looked_for(folder):
    with pytest.raises(ValueError, match=r"mine\.py:build: no file mine\.py in ") as caught:
        load_function("mine.py:build")
    assert str(folder) in str(caught.value)


def test_a_missing_function_is_told_with_those_there_are():
    write("mine.py", "def biuld():\n    pass\nWIDTH = 3\n")
    with pytest.raises(ValueError, match=r"has no function 'build'; it has biuld$"):
        load_function("mine.py:build")
    with pytest.raises(ValueError, match="has no function 'WIDTH'"):
        load_function("mine.py:WIDTH")


def test_a_fault_in_the_file_is_the_files_own():
    write("mine.py", "import nothing_of_this_name\n")
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        load_function("mine.py:build")


def test_the_files_a_section_names_are_found():
    assert user_file("a/b.py:build") == Path("a/b.py")
    section = {
        "engine": "fx",
        "passes": ["custom-operators", "z/passes.py:fuse", "a/passes.py:fold"],
        "factory": "a/passes.py:build",
        "options": {},
        "depth": 3,
    }
    assert user_files(section) == [Path("a/passes.py"), Path("z/passes.py")]
    assert user_files({"engine": "eager"}) == []


def test_files_that_are_not_there_are_told_with_key_path_and_remedy(folder):
    write("mine.py", "")
    section = {"factory": "mine.py:build", "inputs": "mien.py:inputs", "item": "row"}
    (fault,) = missing_files("models.mine", section)
    assert fault.startswith(f"models.mine.inputs: no file mien.py in {folder};")
    assert "the whole path" in fault
    section = {"passes": ["custom-operators", "mine.py:fuse", "a.py:fold", "b.py:fold"]}
    assert [fault.partition(":")[0] for fault in missing_files("modes.fx", section)] == [
        "modes.fx.passes[2]",
        "modes.fx.passes[3]",
    ]
