"""Reasons name the cause in one line, whatever PyTorch and its exporters wrap it in."""

from __future__ import annotations

import time
import unicodedata

import pytest
import torch
from engine_cases import mode
from record_factory import make_record
from torch import nn

from torchmodes.processes.child import describe
from torchmodes.results.reasons import LONGEST, cause_of, printable, reason_of
from torchmodes.results.records import Record
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.structures import Inputs


class Gamma(nn.Module):
    """An operator without a translation to ONNX."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


class Branch(nn.Module):
    """A branch that depends on data."""

    def forward(self, x):
        return x * 2 if x.sum() > 0 else x - 1


class Ragged(nn.Module):
    """A product of shapes that do not fit."""

    def forward(self, x):
        return x @ torch.ones(3, 3)


class Odd:
    """What PyTorch's trees do not know."""

    def __init__(self, value):
        self.value = value


class Unknown(nn.Module):
    def forward(self, x):
        return Odd(x)


class Talks(nn.Module):
    """An error of the model's own that prints a tensor, in colour."""

    def forward(self, x):
        raise ValueError(f"\x1b[31mnot like this\x1b[0m: {x}")


class Looks(nn.Module):
    """A key that is not there."""

    def forward(self, x):
        return {}["weight"] + x


class Opens(nn.Module):
    """What no compiler follows."""

    def forward(self, x):
        return x + len(open(__file__).read())  # noqa: PTH123


class Scripts(nn.Module):
    """Types that TorchScript refuses."""

    def forward(self, x):
        return x + None


@torch.library.custom_op("torchmodes_test::halved", mutates_args=())
def halved(x: torch.Tensor) -> torch.Tensor:
    return x / 2


class Custom(nn.Module):
    """An operator that says nothing about shapes."""

    def forward(self, x):
        return halved(x)


ONNX, EXPORT, STRICT = mode("onnxruntime"), mode("export"), mode("export", strict=True)
TRACE, SCRIPT = (mode("torchscript", method=method) for method in ("trace", "script"))
FULLGRAPH = mode("compile", backend="eager", fullgraph=True)
FAILING = [
    (Gamma, ONNX, "No ONNX function found for prims.bessel_j0"),
    (Gamma, mode("openvino"), "No conversion rule found for operations: aten.special_bessel_j0"),
    (Branch, EXPORT, "Could not guard on data-dependent expression"),
    (Branch, ONNX, "in `return x * 2 if x.sum() > 0 else x - 1`"),
    (Branch, EXPORT, "in `return x * 2 if x.sum() > 0 else x - 1`"),
    (Branch, STRICT, "Data-dependent branching: Detected data-dependent branching"),
    (Branch, FULLGRAPH, "in `return x * 2 if x.sum() > 0 else x - 1`"),
    (Branch, mode("fx"), "symbolically traced variables cannot be used as inputs to control flow"),
    (Ragged, EXPORT, "reduction dim"),
    (Ragged, FULLGRAPH, "in `return x @ torch.ones(3, 3)`"),
    (Ragged, SCRIPT, "shapes cannot be multiplied"),
    (Unknown, ONNX, "test_reasons.Odd'> in output, which is not a known type"),
    (Unknown, TRACE, "the model returns no tensor but Odd"),
    (Talks, EXPORT, "ValueError: not like this: FakeTensor"),
    (Talks, TRACE, "ValueError: not like this: a tensor"),
    (Talks, SCRIPT, "ValueError: not like this"),
    (Looks, EXPORT, "KeyError: 'weight'"),
    (Looks, FULLGRAPH, "KeyError: weight"),
    (Opens, STRICT, "Dynamo does not know how to trace builtin operator `open`"),
    (Scripts, SCRIPT, "Expected a value of type 'Tensor' for argument 'other'"),
    (
        Custom,
        EXPORT,
        "no fake impl registered for <CustomOpDef(torchmodes_test::halved)>",
    ),
    (Custom, FULLGRAPH, "There was no fake impl registered"),
]


def failure(model, options) -> Exception:
    """Return what is raised when a mode prepares and calls the model."""
    torch._dynamo.reset()
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    with pytest.raises(Exception) as raised, torch.no_grad():  # noqa: PT011 - of any class
        create_engine(options).prepare(model().eval(), Inputs((x,)))(x)
    return raised.value


@pytest.mark.parametrize(
    ("model", "options", "cause"),
    FAILING,
    ids=[
        f"{model.__name__} {options['engine']}: {cause[:20]}" for model, options, cause in FAILING
    ],
)
def test_a_reason_names_the_cause_in_one_clean_line(model, options, cause):
    error = failure(model, options)
    for told in (reason_of(error), describe(error).message):
        assert cause.removeprefix("ValueError: ") in told
        assert len(told) <= LONGEST + 40
        assert not any(unicodedata.category(character).startswith("C") for character in told)
        assert "0.81" not in told, "a value of the tensor"


TYPE = "Type 'tensor(bool)' of input parameter (x) is invalid."
LOADING = (
    "Load model from /tmp/x/model.onnx failed:/onnxruntime_src/onnxruntime/core/graph/graph.cc:12"
    " void onnxruntime::Graph::Init(const T&) "
)
CONVERTING = (
    "/onnxruntime_src/onnxruntime/core/dlpack/converter.cc:147 onnxruntime::MLDataType"
    " onnxruntime::dlpack::{anonymous}::GetOrtValueDataType(const DLDataType&, bool)"
)


OPENVINO = (
    "Exception from src/inference/src/cpp/core.cpp:117:\n"
    "Exception from src/inference/src/dev/plugin.cpp:54:\n"
    "Check 'precisions.count(precision) != 0' failed at src/plugins/subgraph.cpp:381:\n"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"[ONNXRuntimeError] : 1 : FAIL : {LOADING}{TYPE}", TYPE),
        (f"{CONVERTING} Unsupported code 6", "Unsupported code 6"),
        (
            'no INTERNAL ASSERT FAILED at "/pytorch/c/ir.cpp":617, see',
            "no INTERNAL ASSERT FAILED see",
        ),
        (f"{OPENVINO}Subgraph doesn't support f64.\n\n", "Subgraph doesn't support f64."),
        ("CUDA error: out of luck\nkernel errors may come later", "CUDA error: out of luck"),
        (
            "Error(s) in loading Linear:\n\tsize mismatch",
            "Error(s) in loading Linear: size mismatch",
        ),
        ("Of {'a': tensor([[1., 2.],\n  [3., 4.]])}\n:no list", "Of {'a': a tensor}: no list"),
        ("rows 1.5000 2.5000 3.5000 4.5000\n", "rows …"),
        ("of 1.5 and 2.5", "of 1.5 and 2.5"),
        ("model.py has no layer /mine/model.h5", "model.py has no layer /mine/model.h5"),
        ("y" * 400, "y" * (LONGEST - 1) + "…"),
        ("", ""),
    ],
)
def test_what_libraries_add_to_a_cause_is_left_out(said, told):
    assert cause_of(RuntimeError(said)) == told


def test_an_exception_without_words_is_told_by_its_class():
    assert reason_of(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert reason_of(KeyError("rows")) == "KeyError: 'rows'"


def test_only_known_wrappers_are_opened():
    outer = ValueError("the model is not in this folder")
    outer.__cause__ = OSError("errno 2")
    assert reason_of(outer) == "ValueError: the model is not in this folder"


def test_wrappers_in_a_circle_are_opened_once():
    class ConversionError(Exception):
        pass

    outer, inner = ConversionError("outer words"), ConversionError("inner words")
    outer.__cause__, inner.__cause__ = inner, outer
    assert cause_of(outer) == "outer words"


@pytest.mark.parametrize(
    "said",
    [
        *("tensor([1.5]) ", "/of/a/path", "1.5000 ", "a<", "a::", "(", "\x1b]", "\x1b[0", "://a"),
        "/x.cc:1 int a::b(",
    ],
)
def test_a_message_of_megabytes_is_read_at_once(said):
    begun = time.process_time()
    assert len(cause_of(RuntimeError(said * 300_000))) <= LONGEST
    assert time.process_time() - begun < 3


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        (
            "no way to http://me:secret@proxy:3128/x@y or redis://:s3cr@t@[::1]",
            "no way to http://proxy:3128/x@y or redis://[::1]",
        ),
        ("git+https://host/a@main, me@host: u/p@q", "git+https://host/a@main, me@host: u/p@q"),
        ("\x1b[96mThis is step 1/3\x1b[0m", "This is step 1/3"),
        ("\x1b]0;title\x07one\ttwo\r\nthree\x00\x9b1m", "one\ttwo\nthree"),
        ("\u202eright to left\u2066 and 😀", "right to left and 😀"),
    ],
)
def test_printable_text_has_no_control_characters(text, printed):
    assert printable(text) == printed


def test_no_control_character_gets_into_a_record():
    coloured = "\x1b[96mstep\x1b[0m \x071"
    whole = make_record("inference/cpu/house_price/fx/fp32-b64", status="failed").model_dump()
    record = Record.model_validate(
        whole
        | {
            "reason": coloured,
            "remedy": coloured,
            "no_effect": coloured,
            "warnings": [coloured],
            "facts": {"graph_breaks": {coloured: 1}, "fallback": [{"failed": coloured}]},
            "failure": {
                "type": "E", "message": coloured, "traceback": f"a\n {coloured}", "log": "log",
            },
        }
    )  # fmt: skip
    assert record.failure.traceback == "a\n step 1"
    assert record.facts == {"graph_breaks": {"step 1": 1}, "fallback": [{"failed": "step 1"}]}
    assert not any(
        sign in record.model_dump_json() for sign in ("\\u001b", "\\u0007", "\x1b", "\x07")
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("1"), "RuntimeError: 1"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError("two words"), "two words"),
        (StopIteration(), ""),
    ],
)
def test_a_message_of_one_word_stands_behind_its_class(error, told):
    assert cause_of(error) == told
    assert reason_of(error).count(type(error).__name__) == 1
