"""ONNX Runtime: inputs by name, providers that are really used, and the order of work on CUDA."""

from __future__ import annotations

import os

import pytest
import torch
from engine_cases import attention, convolutions, mode

from torchmodes.modes import create_engine
from torchmodes.modes.onnxruntime import named_inputs


def test_tensors_are_paired_with_the_models_inputs():
    x, mask = torch.ones(1), torch.zeros(1)
    pair = named_inputs(["x", "mask"], (x,), {"mask": mask})
    assert pair((x,), {"mask": mask}) == [("x", x), ("mask", mask)]


def test_keywords_are_paired_by_name_and_constants_left_out():
    ids, mask = torch.ones(1), torch.zeros(1)
    given = {"mask": mask, "use_cache": False, "ids": ids}
    assert dict(named_inputs(["ids", "mask"], (), given)((), given)) == {"ids": ids, "mask": mask}


def test_what_the_exported_model_does_not_take_is_told():
    x = torch.ones(1)
    with pytest.raises(ValueError, match="takes x, y; the call gives 1 positional tensors"):
        named_inputs(["x", "y"], (x,), {})
    with pytest.raises(ValueError, match="takes x; the call gives 0 positional tensors and ids"):
        named_inputs(["x"], (), {"ids": x})


def test_inputs_that_are_not_contiguous_are_taken_too():
    example = convolutions()
    engine = create_engine(mode("onnxruntime"))
    with torch.no_grad():
        call = engine.prepare(example.module, example.args, example.kwargs)
    image = example.args[0].contiguous(memory_format=torch.channels_last)
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
        def bind_ortvalue_input(self, name, value):
            bound[name] = value

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
    call = engine._on_cuda(torch.device("cuda:0"), example.args, example.kwargs)
    output = call(**example.kwargs)
    assert order == ["own waits for pytorch's", "run, host waits: False", "pytorch's waits for own"]
    assert bound["logits"] == ("cuda", 0)
    assert bound["input_ids"].data_ptr() == example.kwargs["input_ids"].data_ptr()
    assert output.data_ptr() == result.data_ptr()
