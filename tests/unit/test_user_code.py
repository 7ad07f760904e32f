"""Functions from the user's own files."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from torchmodes.planning.user_code import load_function, reference_faults, user_file, user_files


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


def test_functions_of_one_file_share_its_classes_until_it_is_loaded_anew():
    write("mine.py", "class Net:\n    pass\ndef is_mine(net):\n    return isinstance(net, Net)\n")
    net = load_function("mine.py:Net")()
    assert load_function("mine.py:is_mine")(net)
    assert load_function("./mine.py:is_mine")(net), "however its path is written"
    assert not load_function("mine.py:is_mine", anew=True)(net)


def test_a_relative_import_is_told_with_what_to_write():
    write("mine/layers.py", "WIDTH = 7\n")
    write("mine/model.py", "from .layers import WIDTH\n")
    with pytest.raises(ValueError, match=r"import the files beside it by their names"):
        load_function("mine/model.py:build")


def test_a_file_that_failed_is_not_kept():
    write("mine.py", "raise KeyError('A_KEY')\n")
    for _ in range(2):
        with pytest.raises(KeyError, match="A_KEY"):
            load_function("mine.py:build")


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


def model(**changes):
    return {
        "family": "user",
        "factory": "mine.py:build",
        "inputs": "mine.py:inputs",
        "options": {},
    } | changes


def test_files_that_are_not_there_are_told_with_key_path_and_remedy(folder):
    write("mine.py", "def build(): ...\ndef fuse(graph): ...")
    (fault,) = reference_faults({"models.mine": model(inputs="mien.py:inputs", item="row")})
    assert fault.startswith(f"models.mine.inputs: no file mien.py in {folder};")
    assert "the whole path" in fault
    fx = {"engine": "fx", "passes": ["custom-operators", "mine.py:fuse", "a.py:fold", "b.py:fold"]}
    assert [fault.partition(":")[0] for fault in reference_faults({"modes.fx": fx})] == [
        "modes.fx.passes[2]",
        "modes.fx.passes[3]",
    ]


# --- Functions that a file has, told without running it ------------------------------------------

GOOD = "def build(depth=1, *, width=8): ...\ndef inputs(batch_size): ...\n"


@pytest.mark.parametrize(
    ("text", "changes", "faults"),
    [
        (GOOD, {"options": {"depth": 2, "width": 4}}, []),
        (
            GOOD,
            {"factory": "mine.py:bild"},
            ["models.mine.factory: mine.py has no function 'bild'; did you mean 'build'?"],
        ),
        (
            GOOD,
            {"factory": "mine.py:xyz"},
            ["models.mine.factory: mine.py has no function 'xyz'; known: build, inputs"],
        ),
        ("", {}, ["'build'", "'inputs'"]),
        (
            "def build():\n  bild = 1\n  return bild\ndef inputs(batch_size): ...\n",
            {"factory": "mine.py:bild"},
            ["models.mine.factory: mine.py has no function 'bild'; did you mean 'build'?"],
        ),
        (
            GOOD,
            {"options": {"dept": 2, "colour": 1}},
            [
                ".options.dept: build() in mine.py takes no 'dept'; did you mean 'depth'?",
                ".options.colour: build() in mine.py takes no 'colour'; known: depth, width",
            ],
        ),
        (
            "def build(depth, /): ...\ndef inputs(n): ...",
            {"options": {"depth": 2}},
            [
                "models.mine.options.depth: build() in mine.py takes no 'depth'",
                "models.mine.factory: build() in mine.py is called as build():",
            ],
        ),
        (
            "def build(depth): ...\ndef inputs(): ...",
            {},
            [
                (
                    "models.mine.factory: build() in mine.py is called as build():"
                    " missing a required argument: 'depth'"
                ),
                (
                    "models.mine.inputs: inputs() in mine.py is called as inputs(batch_size):"
                    " too many positional arguments"
                ),
            ],
        ),
        (
            "class build:\n  def __init__(self, depth=1): ...\ndef inputs(n, *more): ...",
            {"options": {"depht": 2}},
            ["models.mine.options.depht: build() in mine.py takes no 'depht'; did you mean"],
        ),
        (
            "def build(:\n",
            {"inputs": "mine.py:build"},
            [
                (
                    "models.mine.factory, models.mine.inputs: mine.py, line 1:"
                    " Python cannot read it: invalid syntax"
                )
            ],
        ),
        (
            GOOD + "def evaluate(): ...\n",
            {"quality": "mine.py:evaluate"},
            ["models.mine.quality: evaluate() in mine.py is called as evaluate(call): too many"],
        ),
        ("x = 1\n\0", {}, ["mine.py: Python cannot read it: source code"]),
    ],
)
def test_what_a_file_lacks_is_told_without_running_it(text, changes, faults):
    write("mine.py", text)
    told = reference_faults({"models.mine": model(**changes)})
    assert len(told) == len(faults), told
    for fault, expected in zip(told, faults, strict=True):
        assert expected in fault


@pytest.mark.parametrize(
    "text",
    [
        "from other import build, inputs",
        "from other import something as build, more as inputs",
        "from other import *",
        "import other\nbuild = other.make\ninputs = lambda n: n",
        "build, (inputs, _) = functions()",
        (
            "if True:\n  def build(): ...\nelse:\n  build = None\n"
            "try:\n  from fast import inputs\nexcept ImportError:\n  inputs = None"
        ),
        "for build in (1, 2): inputs = build",
        "with made() as build: inputs = 1",
        "print(build := 1, inputs := 2)",
        "def make():\n  global build, inputs\n  build = inputs = 1\nmake()",
        "globals()['build'] = globals()['inputs'] = 1",
        "def __getattr__(name): ...",
        "import sys\nthis = sys.modules[__name__]",
        "from sys import modules",
        "setattr(this, 'build', 1)",
        "exec('def build(): ...')",
    ],
)
def test_a_function_that_may_come_from_elsewhere_is_taken_to_be_there(text):
    write("mine.py", text)
    assert reference_faults({"models.mine": model(options={"depth": 3})}) == []


@pytest.mark.parametrize(
    "text",
    [
        "def build(**options): ...",
        "@decorated\ndef build(): ...",
        "def build(): ...\nbuild = partial(build)",
        "def build(): ...\ndef build(depth): ...",
        "def build(): ...\nfrom other import build",
        "class build: ...",
        "class build(Base, metaclass=Other):\n  def __init__(self): ...",
        "class build:\n  def __new__(cls, depth): ...\n  def __init__(self, **more): ...",
        "@dataclass\nclass build:\n  depth: int",
        "async def build(depth): ...",
    ],
)
def test_options_are_taken_to_be_right_where_the_text_alone_does_not_tell(text):
    write("mine.py", f"{text}\ndef inputs(batch_size, scale=1): ...")
    assert reference_faults({"models.mine": model(options={"depth": 3})}) == []


def test_a_neighbour_that_a_module_of_python_hides_is_told():
    write("queue.py", "class Layer: ...\n")
    text = "from queue import {}\ndef build(): ...\ndef inputs(batch_size): ...\n"
    write("mine.py", text.format("Layer"))
    (fault,) = reference_faults({"models.mine": model()})
    assert fault.startswith("models.mine.factory, models.mine.inputs: mine.py imports 'Layer' from")
    assert fault.endswith("a module of Python's own: rename queue.py")
    write("mine.py", text.format("Queue"))
    assert reference_faults({"models.mine": model()}) == [], "that is Python's own"


def test_a_file_with_an_environment_of_its_own_may_be_for_a_newer_python():
    write("mine.py", "def build(:")
    write("mine.env.yaml", "")
    assert reference_faults({"models.mine": model()}) == []


def test_a_mode_of_the_users_is_called_with_model_and_inputs():
    write("mine.py", "def prepare(model, inputs, freeze=False): ...\ndef one(model): ...")
    mode = {"engine": "user", "factory": "mine.py:prepare", "options": {"freez": 1, "model": 2}}
    assert reference_faults({"modes.mine": mode}) == [
        "modes.mine.options.freez: prepare() in mine.py takes no 'freez'; did you mean 'freeze'?",
        "modes.mine.options.model: prepare() in mine.py takes no 'model'; known: freeze",
    ]
    mode |= {"factory": "mine.py:one", "options": {}}
    assert reference_faults({"modes.mine": mode}) == [
        (
            "modes.mine.factory: one() in mine.py is called as one(model, inputs):"
            " too many positional arguments"
        )
    ]


def test_a_fault_of_many_models_is_told_once():
    write("mine.py", GOOD)
    sections = {f"models.{name}": model(factory="mine.py:bild") for name in ("a", "b")}
    assert reference_faults(sections) == [
        "models.a.factory, models.b.factory: mine.py has no function 'bild'; did you mean 'build'?"
    ]


def test_the_examples_have_no_fault(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    mode = {"engine": "fx", "passes": ["examples/drop_dropout.py:drop_dropout"]}
    assert reference_faults({"modes.mine": mode}) == []


def test_a_file_in_another_encoding_than_it_says_is_told():
    Path("mine.py").write_bytes(b"name = '\xe9'\n")
    (fault,) = reference_faults({"models.mine": model()})
    assert fault.startswith("models.mine.factory, models.mine.inputs: mine.py: Python cannot read")
