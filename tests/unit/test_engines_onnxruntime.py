"""ONNX Runtime: element types, providers that are really used, and the order of work on CUDA."""

from __future__ import annotations

import os

import pytest
import torch
from engine_cases import attention, convolutions, mode
from onnx import TensorProto

from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes.onnxruntime import ELEMENTS
from torchmodes.workloads.structures import Structure, tensors_taken


def test_element_types_have_the_numbers_of_onnx():
    names = {torch.float32: "FLOAT", torch.float16: "FLOAT16", torch.float64: "DOUBLE"}
    for dtype, number in ELEMENTS.items():
        name = names.get(dtype, str(dtype).removeprefix("torch.").upper().replace("_E", "E"))
        assert TensorProto.DataType.Name(number) == name


def test_inputs_that_are_not_contiguous_are_taken_too():
    example = convolutions()
    engine = create_engine(mode("onnxruntime"))
    with torch.no_grad():
        call = engine.prepare(example.module, example.inputs)
    image = example.inputs.args[0].contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(call(image), example.expected)


def test_a_provider_that_does_not_load_ends_the_case_instead_of_running_on_the_cpu(monkeypatch):
    import onnxruntime

    class OnTheCpu:
        def __init__(self, *args, **kwargs):
            pass

        def disable_fallback(self):
            pass

        def get_providers(self):
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "InferenceSession", OnTheCpu)
    engine = create_engine(mode("onnxruntime"))
    with pytest.raises(RuntimeError, match=r"could not load CUDAExecutionProvider .* instead"):
        engine._open("cuda", {"device_id": "0"})


def test_what_tensorrt_does_not_take_runs_on_cuda_and_not_on_the_cpu(monkeypatch):
    import onnxruntime

    asked = []

    class Session:
        def __init__(self, model, settings, providers):
            asked.extend(providers)

        def disable_fallback(self):
            pass

        def get_providers(self):
            return [name for name, _ in asked]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    create_engine(mode("onnxruntime"))._open("tensorrt", {"device_id": "0"}, rest={"use_tf32": "0"})
    assert asked == [
        ("TensorrtExecutionProvider", {"device_id": "0"}),
        ("CUDAExecutionProvider", {"use_tf32": "0"}),
    ]


class Stream:
    """Stands for a CUDA stream, and writes down who waits for whom."""

    cuda_stream = 4242

    def __init__(self, name, order):
        self.name, self.order = name, order

    def wait_stream(self, other):
        self.order.append(f"{self.name} waits for {other.name}")


def test_options_of_the_cuda_provider():
    stream = Stream("own", [])
    fp32 = create_engine(mode("onnxruntime"))
    options = fp32._cuda_options("cuda", 1, stream)
    assert options == {"device_id": "1", "user_compute_stream": "4242", "use_tf32": "0"}
    tf32 = create_engine(mode("onnxruntime"), precision="tf32")
    assert tf32._cuda_options("cuda", 0, stream)["use_tf32"] == "1"


def test_options_of_the_tensorrt_provider(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "1")  # so that it is restored
    stream = Stream("own", [])
    engine = create_engine(mode("onnxruntime", provider="tensorrt"), precision="fp16")
    options = engine._cuda_options("tensorrt", 0, stream)
    assert options["trt_fp16_enable"] == "1"
    assert options["trt_bf16_enable"] == "0"
    assert options["trt_timing_cache_path"] == str(engine.directory), "private: builds are cold"
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"


def test_on_cuda_work_is_ordered_by_streams_and_nothing_is_copied(monkeypatch):
    order, bound = [], {}
    own, current = Stream("own", order), Stream("pytorch's", order)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: own)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: current)
    result = torch.full((2, 4), 5.0)

    class Binding:
        def bind_input(self, name, device, index, element, shape, address):
            bound[name] = (device, index, element, shape, address)

        def bind_output(self, name, device, index):
            bound[name] = (device, index)

        def get_outputs(self):
            return [result]

    class Named:
        def __init__(self, name):
            self.name = name

    class Session:
        def get_inputs(self):
            return [Named("input_ids"), Named("attention_mask")]

        def get_outputs(self):
            return [Named("logits")]

        def io_binding(self):
            return Binding()

        def run_with_iobinding(self, binding, options):
            key = "disable_synchronize_execution_providers"
            order.append(f"run, host waits: {options.get_run_config_entry(key) != '1'}")

    example = attention()
    engine = create_engine(mode("onnxruntime"))
    monkeypatch.setattr(engine, "_open", lambda provider, options, rest: Session())
    engine.take, engine.returned = tensors_taken(example.inputs), Structure.of(result)
    call = engine._on_cuda(torch.device("cuda:0"))
    output = call(**example.inputs.kwargs)
    assert order == ["own waits for pytorch's", "run, host waits: False", "pytorch's waits for own"]
    assert bound["logits"] == ("cuda", 0)
    ids = example.inputs.kwargs["input_ids"]
    assert bound["input_ids"] == ("cuda", 0, TensorProto.INT64, (2, 6), ids.data_ptr())
    assert output.data_ptr() == result.data_ptr()
