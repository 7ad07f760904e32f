"""Low precision: right within its tolerance, counted where it ran, refused where it would crawl."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from engine_cases import MODELS, Example, attention, convolutions, mode
from job_factory import make_job
from torch import nn

from torchmodes.machine.peaks import gemm
from torchmodes.measure.numerics import OUTPUT_TOLERANCE, compare
from torchmodes.planning.cases import parse_case
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes.base import CALIBRATION
from torchmodes.workloads.modes.executed import Product, count_executed
from torchmodes.workloads.modes.onnxruntime import _product
from torchmodes.workloads.modes.openvino import _products
from torchmodes.workloads.modes.precision import (
    INSTRUCTIONS,
    cast,
    instructions,
    unsupported_precision,
)
from torchmodes.workloads.structures import Inputs
from torchmodes.workloads.workload import inference_workload, unsupported

CASE = parse_case("inference/cpu/mine/a-mode/int8-b2")
STATIC = mode("quantize", library="torchao", method="static", compile=True)
INT4 = mode("quantize", library="torchao", method="weight-only")
FP8 = {
    method: mode("quantize", library="torchao", method=method)
    for method in ("dynamic", "weight-only")
}
MODES = {
    "onnxruntime static": (mode("onnxruntime"), "int8"),
    "onnxruntime dynamic": (mode("onnxruntime", quantization="dynamic"), "int8"),
    "openvino int8": (mode("openvino"), "int8"),
    "openvino bf16": (mode("openvino"), "bf16"),
}
EXECUTED = {
    ("onnxruntime static", "convolutions"): {"int8 convolution": 1, "int8 matrix product": 1},
    ("onnxruntime static", "attention"): {"int8 matrix product": 4, "fp32 matrix product": 2},
    ("onnxruntime dynamic", "convolutions"): {"fp32 convolution": 1, "int8 matrix product": 1},
    ("onnxruntime dynamic", "attention"): {"int8 matrix product": 4, "fp32 matrix product": 2},
    ("openvino int8", "convolutions"): {"int8 convolution": 1, "int8 matrix product": 1},
    ("openvino int8", "attention"): {"int8 matrix product": 4, "fp32 matrix product": 2},
    ("openvino bf16", "convolutions"): {"bf16 convolution": 1, "bf16 matrix product": 1},
    ("openvino bf16", "attention"): {"bf16 matrix product": 4},
}
"""What each mode is to compute in which format; attention's own products stay as they are."""


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what OpenVINO compiles out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def prepared(options, precision: str, example: Example):
    """Return an engine that prepared an example, and the output of a call."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    engine = create_engine(options, precision=precision)
    with torch.no_grad():
        call = engine.prepare(example.module, example.inputs)
    with engine.context():
        return engine, example.inputs.call(call)


@pytest.mark.parametrize(("name", "model"), EXECUTED)
def test_a_mode_is_right_and_counts_what_it_computed_in_which_format(name, model):
    options, precision = MODES[name]
    if precision == "bf16" and not instructions("bf16"):
        pytest.skip("this CPU has no bf16 arithmetic")
    example = MODELS[model]()
    engine, output = prepared(options, precision, example)
    numerics = compare(example.expected, output, precision=precision)
    assert numerics.within_tolerance
    assert numerics.relative_l2 > 1e-4, "fp32 would be nearer"
    facts = engine.stats()
    assert facts["executed"] == EXECUTED[name, model]
    assert "no_effect" not in facts


def profiled(name: str, *given: dict[str, list[int]], out: list[int]) -> Product | None:
    """Read a node as ONNX Runtime's profile tells it."""
    return _product(
        {"op_name": name, "input_type_shape": given, "output_type_shape": [{"float": out}]}
    )


def test_multiply_adds_are_those_of_the_shapes_that_a_node_took():
    image, weights, scale = [2, 3, 8, 8], [8, 3, 3, 3], []
    convolved = profiled(
        *("QLinearConv", {"uint8": image}, {"float": scale}, {"uint8": scale}, {"int8": weights}),
        out=[2, 8, 6, 6],
    )
    assert convolved == Product("convolution", "int8", 2 * 8 * 6 * 6 * 3 * 3 * 3)
    product = profiled("Gemm", {"float": [2, 8]}, {"float": [4, 8]}, out=[2, 4])
    assert product == Product("matrix product", "fp32", 2 * 8 * 4)
    assert profiled("Relu", {"float": image}, out=image) is None
    facts = count_executed([convolved, product], "int8")
    assert facts["executed"] == {"int8 convolution": 1, "fp32 matrix product": 1}
    assert facts["share_of_multiply_adds"] == pytest.approx(15552 / 15616)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_a_grouped_convolution_multiplies_the_channels_of_its_group_alone(groups):
    example = Example(nn.Conv2d(8, 16, 3, groups=groups), Inputs.of(torch.randn(1, 8, 6, 6)), None)
    engine, output = prepared(mode("openvino"), "fp32", example)
    (product,) = _products(engine.compiled.get_runtime_model())
    assert product.multiply_adds == output.numel() * 8 // groups * 3 * 3


@torch._inductor.config.patch(freezing=False, cpp_cache_precompile_headers=False)  # restored
def test_pt2e_calibrates_a_module_that_is_called_twice_and_runs_int8_kernels():
    class Twice(nn.Module):
        """Shares its ReLU, as torchvision's ResNets do."""

        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
            self.relu, self.head = nn.ReLU(), nn.Linear(8, 4)

        def forward(self, x):
            x = self.relu(self.two(self.relu(self.one(x))))
            return self.head(x.mean(dim=(2, 3)))

    torch.manual_seed(0)
    module, inputs = Twice().eval(), Inputs.of(torch.randn(2, 3, 8, 8))
    with torch.no_grad():
        example = Example(module, inputs, inputs.call(module))
    engine, output = prepared(STATIC, "int8", example)
    assert compare(example.expected, output, precision="int8").within_tolerance
    facts = engine.stats()
    assert facts["executed"] == {"int8 convolution": 2, "int8 matrix product": 1}
    assert facts["int8_kernels"] == 3
    assert "no_effect" not in facts


@torch._inductor.config.patch(freezing=False, cpp_cache_precompile_headers=False)  # restored
def test_pt2e_leaves_the_products_of_attention_in_fp32():
    engine, output = prepared(STATIC, "int8", example := attention())
    assert compare(example.expected, output, precision="int8").within_tolerance
    facts = engine.stats()
    assert facts["executed"] == {"int8 matrix product": 4, "fp32 attention": 1}
    assert facts["int8_kernels"] == 4


def two_layers() -> Example:
    """Return two linear layers of shapes that int4 and fp8 fit, and a row for them."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16)).eval()
    inputs = Inputs.of(torch.randn(2, 32))
    with torch.no_grad():
        return Example(module, inputs, inputs.call(module))


@pytest.mark.parametrize(("model", "layers"), [(attention, 3), (two_layers, 2)])
@pytest.mark.parametrize("method", FP8)
def test_fp8_is_right_within_its_tolerance_and_counted(monkeypatch, method, model, layers):
    # torchao refuses a processor, whose kernel is slow but the same product.
    monkeypatch.setattr("torchao.float8.inference.is_MI300", lambda: True)
    example = model()
    module, inputs = cast(example.module, example.inputs, "fp8")
    engine, output = prepared(FP8[method], "fp8", Example(module, inputs, None))
    numerics = compare(example.expected, output, precision="fp8")
    assert numerics.within_tolerance
    assert numerics.relative_l2 > 5e-3, "bf16 would be nearer"
    facts = engine.stats()
    assert facts["linear_layers"] == layers
    assert facts.get("fp8_kernels") == (layers if method == "dynamic" else None)
    assert "no_effect" not in facts


def test_fp8_that_no_kernel_multiplied_has_no_effect(monkeypatch):
    monkeypatch.setattr("torchao.float8.inference.is_MI300", lambda: True)
    example = convolutions()
    module, inputs = cast(example.module, example.inputs, "fp8")
    engine, _ = prepared(FP8["dynamic"], "fp8", Example(module, inputs, None))
    assert engine.stats()["no_effect"] == (
        "the model has no torch.nn.Linear whose shape fp8 fits: nothing was quantised"
    )
    engine.linear_layers = 1  # as if it had replaced one
    assert engine.stats()["no_effect"] == (
        "a call ran no kernel of fp8: what was quantised ran in bf16"
    )


def test_the_tolerance_of_fp8_is_four_times_the_rounding_of_two_factors():
    exact = torch.exp2(torch.arange(0, 8, 1 / 4096, dtype=torch.float64))
    error = exact.to(torch.float8_e4m3fn).double() / exact - 1
    rounding = error.square().mean().sqrt().item()
    assert 4 * 2**0.5 * rounding == pytest.approx(OUTPUT_TOLERANCE["fp8"], rel=0.02)


@pytest.mark.parametrize("model", [attention, convolutions])
@pytest.mark.parametrize(
    "options",
    [
        mode("eager"),
        mode("eager", autocast=True),
        mode("fx"),
        mode("torchscript", method="trace"),
        mode("export"),
        mode("compile"),
    ],
    ids=lambda options: "-".join(map(str, list(options.values())[:2])),
)
def test_bf16_of_pytorchs_own_modes_is_right_and_is_no_fp32(options, model):
    example = model()
    module, inputs = example.module, example.inputs
    if not options.get("autocast"):
        module, inputs = cast(module, inputs, "bf16")
    _, output = prepared(options, "bf16", Example(module, inputs, None))
    numerics = compare(example.expected, output, precision="bf16")
    assert numerics.within_tolerance
    assert numerics.relative_l2 > 1e-4, "fp32 would be nearer"


@pytest.mark.parametrize(("model", "layers"), [(attention, 4), (two_layers, 2)])
@pytest.mark.parametrize(
    ("library", "method"),
    [("torch", "dynamic"), ("torchao", "dynamic"), ("torchao", "weight-only")],
)
def test_int8_of_linear_layers_is_right_and_counted(library, method, model, layers):
    example = model()
    engine, output = prepared(mode("quantize", library=library, method=method), "int8", example)
    numerics = compare(example.expected, output, precision="int8")
    assert numerics.within_tolerance
    assert numerics.relative_l2 > 1e-3, "fp32 would be nearer"
    assert engine.stats()["linear_layers"] == layers
    assert "no_effect" not in engine.stats()


def test_int4_weights_are_right_within_their_tolerance_and_counted():
    example = attention()
    engine, output = prepared(INT4, "int4", example)
    numerics = compare(example.expected, output, precision="int4")
    assert numerics.within_tolerance
    assert numerics.relative_l2 > 1e-3
    assert engine.stats()["linear_layers"] == 3, "the head's 50 rows are no multiple of 16"
    engine, output = prepared(INT4, "int4", layers := two_layers())
    assert compare(layers.expected, output, precision="int4").within_tolerance
    assert engine.stats()["linear_layers"] == 2
    facts = prepared(INT4, "int4", convolutions())[0].stats()
    assert facts["no_effect"] == (
        "the model has no torch.nn.Linear whose shape int4 fits: nothing was quantised"
    )


def test_openvinos_cache_gives_each_precision_its_own():
    for precision in ("bf16", "fp32", "fp32"):
        engine, _ = prepared(mode("openvino"), precision, convolutions())
        wanted = {f"{precision} convolution": 1, f"{precision} matrix product": 1}
        assert precision == "bf16" or engine.stats()["executed"] == wanted
    assert engine.stats()["from_cache"]


def test_what_quantised_nothing_has_no_effect():
    example = dataclasses.replace(convolutions(), module=nn.ReLU())
    for options in (mode("onnxruntime"), mode("openvino")):
        engine, _ = prepared(options, "int8", example)
        assert engine.stats()["no_effect"] == (
            "none of its 0 convolutions and matrix products is computed in int8"
        )
    facts = count_executed([Product("convolution", "fp32", 10)], "bf16")
    assert facts["no_effect"] == (
        "none of its 1 convolutions and matrix products is computed in bf16"
    )


# --- Calibration ------------------------------------------------------------------------------


def test_a_mode_is_calibrated_on_none_of_the_inputs_that_judge_it(monkeypatch):
    seen = []
    job = make_job(
        "inference/cpu/house_price/m/int8-b4", mode=mode("onnxruntime", calibration_batches=3)
    )
    monkeypatch.setattr(
        "torchmodes.workloads.modes.onnxruntime.write_calibrated",
        lambda exported, batches, quantized: (seen.extend(batches), exported.rename(quantized)),
    )
    workload = inference_workload(job)
    assert len(seen) == 3
    judging = [workload.built.draw(job.seed + number) for number in range(100)]
    assert not any(batch.equals(other) for batch in seen for other in judging)
    assert seen[0].equals(workload.built.draw(job.seed + CALIBRATION))


@pytest.mark.parametrize("draw", [lambda number: Inputs.of(torch.ones(2)),
                                  lambda number: Inputs.of(torch.ones(number % 5))])  # fmt: skip
def test_where_no_other_inputs_can_be_had_the_example_is_all_there_is(draw):
    engine = create_engine(mode("onnxruntime"), precision="int8")
    engine.draw = draw
    example = Inputs.of(torch.ones(2))
    assert engine.calibration_inputs(example, 4) == [example]
    assert "which judge it too" in engine.made["warnings"][0]


# --- Processors that cannot -------------------------------------------------------------------


@pytest.fixture
def cpu(monkeypatch):
    """Return a function that gives this machine a processor with some capabilities."""

    def give(**capabilities: bool) -> None:
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    return give


def test_instructions_are_named_as_the_processor_has_them(cpu):
    cpu(avx512_vnni=True, avx512_bf16=True, amx_int8=True, amx_bf16=False)
    assert instructions("int8") == ["AVX512-VNNI", "AMX-INT8"]
    assert instructions("bf16") == ["AVX512-BF16"]
    assert instructions("fp32") == []


@pytest.mark.parametrize("task", ["inference", "training"])
def test_bf16_is_refused_where_the_processor_would_emulate_it(cpu, task):
    case = parse_case(f"{task}/cpu/m/eager/bf16-b1")
    cpu(avx2=True, avx512_f=True, avx512_vnni=True)
    refused = unsupported_precision(case)
    assert refused.reason == (
        "this CPU has no bf16 arithmetic (AVX512-BF16, AMX-BF16 or ARM BF16): it would be"
        " emulated, slower than fp32"
    )
    assert refused.remedy == "use fp32 or int8, or run the case on cuda"
    for flag in INSTRUCTIONS["bf16"]:
        cpu(**{flag: True})
        assert unsupported_precision(case) is None


@pytest.mark.parametrize("options", [mode("onnxruntime"), mode("openvino"), STATIC])
def test_int8_is_refused_where_the_processor_cannot_multiply_it(cpu, options):
    engine = create_engine(options, precision="int8")
    cpu(sse4_2=True, avx=True)
    refused = engine.supports(CASE, family="user")
    assert refused.reason == (
        "this CPU multiplies no 8-bit integers in vectors (VNNI, AMX-INT8, AVX2 or ARM's dot"
        " product): int8 would be slower than fp32"
    )
    assert refused.remedy == "use fp32"
    cpu(avx2=True)
    assert engine.supports(CASE, family="user") is None
    on_cuda = dataclasses.replace(CASE, device="cuda")
    assert engine.supports(on_cuda, family="user").remedy == "run the case on cpu"


def test_without_vnni_weights_have_seven_bits_for_sums_of_two_products_saturate(cpu):
    import onnx
    from onnx import numpy_helper

    def largest_weight():
        engine, output = prepared(mode("onnxruntime"), "int8", example)
        assert compare(example.expected, output, precision="int8").within_tolerance
        weights = [numpy_helper.to_array(w) for w in onnx.load(engine.model).graph.initializer]
        return max(abs(w.astype(int)).max() for w in weights if w.dtype == "int8" and w.ndim > 1)

    example = convolutions()
    cpu(avx2=True, avx512_vnni=True)
    assert largest_weight() == 127
    cpu(avx2=True)
    assert largest_weight() == 64


@pytest.mark.parametrize(
    ("options", "changed", "reason", "remedy"),
    [
        (
            mode("quantize"),
            {"precision": "int4"},
            "method: dynamic multiplies in int8; int4 is a format of weights alone",
            "use method: weight-only, or ask for the precision int8",
        ),
        (
            INT4,
            {"precision": "int4", "device": "cuda"},
            "torchao's int4 weights are used here by PyTorch's kernel for the CPU, not on cuda",
            "run the case on cpu, or ask for the precision int8",
        ),
        (
            STATIC,
            {"precision": "fp8", "device": "cuda"},
            "method: static calibrates int8; fp8 is scaled at each call, or of weights alone",
            "use method: dynamic or weight-only, or ask for the precision int8",
        ),
        (
            mode("quantize"),
            {"precision": "fp8", "device": "cuda"},
            "torch.ao.quantization has no fp8",
            "use library: torchao",
        ),
    ],
)
def test_what_a_method_has_no_int4_or_fp8_for_is_refused(options, changed, reason, remedy):
    refused = create_engine(options).supports(dataclasses.replace(CASE, **changed), family="user")
    assert (refused.reason, refused.remedy) == (reason, remedy)


@pytest.mark.parametrize("method", FP8)
def test_fp8_is_refused_where_no_tensor_core_multiplies_it(monkeypatch, method):
    on_cpu = unsupported(make_job("inference/cpu/house_price/m/fp8-b4", mode=FP8[method]))
    assert on_cpu.reason == "fp8 is a format of GPUs' tensor cores; cpu would emulate it"
    assert on_cpu.remedy == "run the case on cuda, or ask for the precision int8"
    on_cuda = parse_case("inference/cuda/house_price/m/fp8-b4")
    precisions = create_engine(FP8[method]).precisions
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 6))
    refused = unsupported_precision(on_cuda, precisions=precisions)
    assert refused.reason == (
        "fp8 needs compute capability 8.9 (Ada); this GPU's tensor cores do not multiply it"
    )
    assert refused.remedy == "ask for the precision int8 or bf16"
    for capability in ((8, 9), (9, 0), (10, 0)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda found=capability: found)
        assert unsupported_precision(on_cuda, precisions=precisions) is None
    assert create_engine(FP8[method], precision="fp8").supports(on_cuda, family="mlp") is None


def test_the_peak_of_fp8_is_of_a_product_in_it():
    product = gemm("fp8", 32, "cpu")()
    assert product.dtype == torch.bfloat16
    assert 4 < product.float().mean() < 12  # 32 products of numbers between 0 and 1


NO_INT8 = (
    (
        "this CPU multiplies no 8-bit integers in vectors (VNNI, AMX-INT8, AVX2 or ARM's dot"
        " product): int8 would be slower than fp32"
    ),
    "use fp32",
)
NO_BF16 = (
    (
        "this CPU has no bf16 arithmetic (AVX512-BF16, AMX-BF16 or ARM BF16): it would be"
        " emulated, slower than fp32"
    ),
    "use fp32 or int8, or run the case on cuda",
)
NO_FP16 = (
    (
        "this CPU has no fp16 arithmetic (AVX512-FP16 or AMX-FP16): it would be emulated,"
        " hundreds of times slower"
    ),
    "use bf16 or fp32, or run the case on cuda",
)
OPENVINO_FP16 = ("the mode 'm' does not compute in fp16", "ask for one of bf16, fp32, int8")
ENGINES = {
    "eager": mode("eager"),
    "eager autocast": mode("eager", autocast=True),
    "inductor": mode("compile"),
    "trace": mode("torchscript", method="trace"),
    "fx": mode("fx"),
    "export": mode("export"),
    "aotinductor": mode("aotinductor"),
    "onnxruntime": mode("onnxruntime"),
    "onnxruntime dynamic": mode("onnxruntime", quantization="dynamic"),
    "openvino": mode("openvino"),
    "pt2e": STATIC,
}
REFUSED = [
    *((name, "bf16", NO_BF16) for name in ENGINES if name != "pt2e"),
    *((name, "fp16", NO_FP16) for name in ENGINES if name not in ("pt2e", "openvino")),
    ("openvino", "fp16", OPENVINO_FP16),
    *((name, "int8", NO_INT8) for name in ENGINES if name.startswith(("onnx", "openv", "pt2e"))),
]


@pytest.mark.parametrize(("name", "precision", "told"), REFUSED)
def test_each_engine_refuses_what_an_old_processor_would_emulate(cpu, name, precision, told):
    cpu(sse4_2=True, avx=True)
    case = f"inference/cpu/house_price/m/{precision}-b4"
    refused = unsupported(make_job(case, mode=ENGINES[name]))
    assert (refused.reason, refused.remedy) == told


def test_weights_alone_in_int8_or_int4_ask_for_no_instructions(cpu):
    cpu(sse4_2=True, avx=True)
    for options, precision in ((mode("quantize", library="torchao", method="weight-only"), "int8"),
                               (INT4, "int4")):  # fmt: skip
        case = f"inference/cpu/house_price/m/{precision}-b4"
        assert unsupported(make_job(case, mode=options)) is None
