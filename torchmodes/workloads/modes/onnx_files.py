"""ONNX files, for ONNX Runtime and OpenVINO alike: exported, and put into int8."""

from __future__ import annotations

import ast
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import ExportedProgram

from torchmodes.workloads.modes.export import capture, with_tensors_alone
from torchmodes.workloads.modes.precision import int8_saturates
from torchmodes.workloads.structures import Inputs

QUANTIZED = (
    *("Conv", "MatMul", "Gemm"),
    *("Add", "Relu", "Clip", "Concat", "MaxPool", "AveragePool", "GlobalAveragePool"),
    *("Flatten", "Reshape"),
)
"""Operators between which values stay in int8: products, and what convolutional nets have between
them. Not softmax, normalisations and GELU, in which int8 costs precision and saves no product."""


def capture_for_onnx(
    module: nn.Module, inputs: Inputs, batches: tuple[Inputs, ...] = ()
) -> ExportedProgram:
    """Export a module as torch.onnx.export does: by its code, else by TorchDynamo."""
    try:
        return capture(module, inputs, batches)
    except Exception as error:  # noqa: BLE001 - whatever it was, TorchDynamo may read the code
        try:
            return capture(module, inputs, batches, strict=True)
        except Exception:  # noqa: BLE001 - the first one is nearer to the model's code
            raise error from None


def write(
    program: ExportedProgram, file: Path, *, opset: int | None = None, whole: bool = False
) -> int:
    """Translate a program of `capture_for_onnx` to an ONNX file and check it; return its opset.

    The program returns its tensors in a tuple from then on. Large weights lie beside the file, in
    one with ``.data`` behind the name; with `whole` in the file itself, as the quantiser wants it:
    up to 2 GB.
    """
    import onnx

    translated = torch.onnx.export(
        with_tensors_alone(program), dynamo=True, opset_version=opset, verbose=False
    )
    assert translated is not None
    translated.save(file, external_data=not whole)
    onnx.checker.check_model(str(file))
    return translated.model.opset_imports[""]


def real(tensor: torch.Tensor) -> torch.Tensor:
    """View complex numbers as pairs of real ones, as torch.onnx.export does."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def node_layers(file: Path) -> dict[str, str]:
    """Return the module that each node, and each value, of an ONNX file comes from.

    torch.onnx.export writes it into ``pkg.torch.onnx.name_scopes``: a list from the model down to
    the operator. Empty where something else wrote the file.
    """
    import onnx

    layers: dict[str, str] = {}
    for node in onnx.load(file, load_external_data=False).graph.node:
        told = {entry.key: entry.value for entry in node.metadata_props}
        if scopes := told.get("pkg.torch.onnx.name_scopes"):
            layer = ast.literal_eval(scopes)[-2]
            layers |= dict.fromkeys((node.name, *node.output), layer)
    return layers


def arrays(names: list[str], inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the inputs of an ONNX model, by name, as NumPy's arrays."""
    return dict(zip(names, (real(t).numpy() for t in inputs.tensors()), strict=True))


def write_calibrated(exported: Path, batches: list[Inputs], quantized: Path) -> None:
    """Write a model with weights in int8 and fixed scales of activations: static QDQ.

    The ranges of activations are observed on the batches. Weights have a scale for each output
    channel. On x86 activations are unsigned, for its products multiply unsigned by signed bytes;
    elsewhere they are signed and symmetric.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    x86 = platform.machine() in ("x86_64", "AMD64")
    # Constants and batch norms folded, with the shapes of all tensors.
    prepared = exported.with_name("prepared.onnx")
    quant_pre_process(exported, prepared, skip_symbolic_shape=True)
    quantize_static(
        prepared,
        quantized,
        _reader(prepared, batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        reduce_range=int8_saturates(),
        activation_type=QuantType.QUInt8 if x86 else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=_left_in_fp32(prepared),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"ActivationSymmetric": not x86},
    )
    prepared.unlink()


def write_scaled_at_each_call(exported: Path, quantized: Path) -> None:
    """Write a model whose matrix products scale their activations to int8 at each call."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    model = onnx.load(exported)
    # The quantiser transposes weights, and would miss it in the shapes that the exporter wrote.
    del model.graph.value_info[:]
    quantize_dynamic(
        model,
        quantized,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=int8_saturates(),
    )


def _left_in_fp32(model: Path) -> list[str]:
    """Name products of two computed matrices, and sums that no convolution feeds.

    Attention multiplies computed matrices, and a transformer's residual stream is such sums: there
    int8 loses most and gains least. A sum after a convolution is computed together with it.
    """
    import onnx

    graph = onnx.load(model).graph
    weights = {weight.name for weight in graph.initializer}
    convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    return [
        node.name
        for node in graph.node
        if (node.op_type == "MatMul" and node.input[1] not in weights)
        or (node.op_type == "Add" and convolved.isdisjoint(node.input))
    ]


def _reader(model: Path, batches: list[Inputs]) -> Any:
    """Hand out batches one by one, by the names that a model's inputs have, as NumPy arrays."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader

    names = [given.name for given in onnx.load(model, load_external_data=False).graph.input]
    feeds = (arrays(names, batch) for batch in batches)

    class Reader(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray]:
            return next(feeds, {})

    return Reader()
