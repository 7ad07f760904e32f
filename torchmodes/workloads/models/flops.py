"""Floating-point operations of a forward pass, counted operator by operator: right, or not at all.

PyTorch's counter adds nothing for an operator that it has no formula for, so that a sum alone does
not tell whether it is all of the work. What ran without one is therefore noted beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from torchmodes.results.reasons import reason_of
from torchmodes.workloads.models.base import BuiltModel

aten = torch.ops.aten
Formula = Callable[..., int]

LIGHT_NAMESPACES = frozenset(
    {"prim", "prims", "profiler", "rngprims", "debugprims", "streams"}
    | {"c10d", "_c10d_functional", "_c10d_functional_autograd", "quantized_decomposed"}
)
"""Libraries of operators, beside PyTorch's own, that multiply no matrices."""

LIGHT = frozenset(
    {"torchvision::nms", "torchvision::roi_align", "torchvision::roi_pool"}
    | {"torchvision::ps_roi_align", "torchvision::ps_roi_pool"}
    | {"quantized::quantize_per_tensor", "quantized::add", "quantized::cat", "quantized::mul"}
)
"""Operators of other libraries that multiply no matrices."""

HEAVY = frozenset(
    # products whose formula is not known here: of packed, grouped or sparse matrices
    {"_scaled_mm_v2", "_grouped_mm", "_scaled_grouped_mm", "_scaled_grouped_mm_v2"}
    | {"_mixed_dtypes_linear", "_weight_int4pack_mm", "_weight_int4pack_mm_for_cpu"}
    | {"_weight_int4pack_mm_with_scales_and_zeros", "_dyn_quant_matmul_4bit"}
    | {"_cslt_sparse_mm", "_sparse_addmm", "_sparse_mm_reduce_impl", "_sparse_sparse_matmul"}
    | {"_sparse_semi_structured_addmm", "_sparse_semi_structured_linear"}
    | {"_sparse_semi_structured_mm", "hspmm", "sparse_sampled_addmm", "_trilinear"}
    | {"mkldnn_linear", "quantized_gru", "quantized_lstm", "quantized_gru_cell"}
    | {"quantized_lstm_cell", "quantized_rnn_relu_cell", "quantized_rnn_tanh_cell"}
    # whole layers in one operator
    | {"_transformer_encoder_layer_fwd", "_native_multi_head_attention"}
    | {"_triton_multi_head_attention", "_triton_scaled_dot_attention", "_cudnn_attention_forward"}
    # convolutions under the names of one library
    | {"_conv_depthwise2d", "conv_depthwise3d", "_nnpack_spatial_convolution"}
    | {"cudnn_convolution_add_relu", "cudnn_convolution_relu", "cudnn_convolution_transpose"}
    | {"_mps_convolution", "_mps_convolution_transpose", "mkldnn_convolution"}
    | {"miopen_convolution", "miopen_convolution_add_relu", "miopen_convolution_relu"}
    | {"miopen_convolution_transpose", "miopen_depthwise_convolution", "slow_conv3d_forward"}
    | {"slow_conv_dilated2d", "slow_conv_dilated3d", "slow_conv_transpose2d"}
    | {"slow_conv_transpose3d"}
    # gradients of the above and of what has a formula
    | {"_cudnn_attention_backward", "_cudnn_rnn_backward", "_slow_conv2d_backward"}
    | {"_scaled_dot_product_flash_attention_for_cpu_backward", "convolution_backward_overrideable"}
    | {"_scaled_dot_product_fused_attention_overrideable_backward", "linear_backward"}
    | {"lstm_mps_backward", "matmul_backward", "miopen_rnn_backward", "mkldnn_linear_backward"}
    | {"mkldnn_rnn_layer_backward", "mps_convolution_backward"}
    | {"mps_convolution_transpose_backward", "_sparse_mm_reduce_impl_backward"}
    # distances, Fourier transforms, factorisations and solvers
    | {"_cdist_forward", "_cdist_backward", "_euclidean_dist", "_pdist_forward", "_pdist_backward"}
    | {"_fft_c2c", "_fft_c2r", "_fft_r2c", "cholesky_inverse", "_cholesky_solve_helper"}
    | {"cholesky_solve", "geqrf", "linalg_cholesky_ex", "_linalg_det", "linalg_eig"}
    | {"_linalg_eigh", "_linalg_eigvals", "linalg_householder_product", "linalg_inv_ex"}
    | {"linalg_ldl_factor_ex", "linalg_ldl_solve", "linalg_lstsq", "linalg_lu"}
    | {"linalg_lu_factor_ex", "linalg_lu_solve", "linalg_matrix_exp", "linalg_matrix_sqrth"}
    | {"linalg_pinv", "linalg_polar", "linalg_qr", "_linalg_slogdet", "_linalg_solve_ex"}
    | {"linalg_solve_triangular", "_linalg_svd", "ormqr", "_spsolve", "triangular_solve"}
    | {"_compute_linear_combination"}
)
"""PyTorch's operators that do much arithmetic and for which there is no formula."""

_SPARSE = {torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


@dataclass(frozen=True)
class Flops:
    """What was counted of a piece of work.

    Attributes
    ----------
    total
        Floating-point operations; None where none were counted, or not all.
    fault
        Why not all could be counted; None where they were.
    by_module
        The same by module, as in ``named_modules`` (the model itself is ``""``), submodules
        included; None where not all could be counted, and no entry where nothing was.
    """

    total: int | None
    fault: str | None
    by_module: Mapping[str, int | None]


class _UncountedMode(TorchDispatchMode):
    """Notes, by module, what runs without a formula although it may be much work.

    It stands below the counter, which hands on what it cannot take apart any further.
    """

    supports_higher_order_operators = True

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()
        self._counter = counter
        self.found: dict[str, set[str]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if (told := self._unknown(func, args, kwargs)) is not None:
            for module in set(self._counter.mod_tracker.parents):
                self.found.setdefault(module, set()).add(told)
        return func(*args, **kwargs)

    def _unknown(self, func: Any, args: Any, kwargs: Any) -> str | None:
        """Name an operator whose work the counter does not add up, or None."""
        if isinstance(func, torch._ops.HigherOrderOperator):
            return None if func in self._counter.flop_registry else func.name()
        packet = func._overloadpacket
        tensors = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        if packet in self._counter.flop_registry:
            if any(t.layout in _SPARSE for t in tensors):
                return f"{packet} of sparse matrices"
            return f"{packet} of complex numbers" if any(map(torch.is_complex, tensors)) else None
        name = func._schema.name
        library, _, operator = name.partition("::")
        if library == "aten":
            return str(packet) if operator.removesuffix("_") in HEAVY else None
        light = library in LIGHT_NAMESPACES or name in LIGHT or torch.Tag.pointwise in func.tags
        return None if light or not tensors else str(packet)


@contextmanager
def encoders_layer_by_layer() -> Generator[None]:
    """Let nn.TransformerEncoder run operator by operator, not a layer as one operator."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def count_flops(built: BuiltModel) -> Flops:
    """Count the floating-point operations of one forward pass of the example inputs.

    They are those of the whole batch, by shape, whatever the precision and the mode.
    """
    with torch.no_grad():
        return flops_of(lambda: built.inputs.call(built.module), built.module)


def flops_of(call: Callable[[], Any], module: nn.Module) -> Flops:
    """Run a call of a model and count its floating-point operations, in all and by module.

    A multiplication with its addition counts as two, as is usual. Matrix products, convolutions,
    recurrences and attention are counted, all by shape; element-wise work, normalisation and
    look-ups are not, nor what is computed outside of PyTorch's operators (in NumPy, by kernels that
    the model launches itself).

    Notes
    -----
    Where PyTorch runs several products as one operator that has no formula, it is told to run them
    one by one: attention as two matrix products (`SDPBackend.MATH`), and encoder layers without
    their fast path. Recurrent layers have a formula, for oneDNN and cuDNN leave no such choice.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    uncounted = _UncountedMode(counter)
    try:
        with sdpa_kernel(SDPBackend.MATH), encoders_layer_by_layer(), uncounted, counter:
            call()
    except Exception as error:  # noqa: BLE001 - the counter runs a user's model in its own way
        return Flops(None, f"the counter cannot run it ({reason_of(error)})", {})
    names = sorted(uncounted.found.get("Global", ()))
    told = f"no operations are known of {', '.join(names)}" if names else None
    fault = told or _hidden_in_scripts(module)
    by_name: dict[str, int | None] = {
        name: sum(counts.values()) for name, counts in counter.get_flop_counts().items()
    }
    by_name |= dict.fromkeys(uncounted.found)
    root = type(module).__name__  # the counter tells modules from it on
    return Flops(
        total=None if fault else counter.get_total_flops() or None,
        fault=fault,
        by_module={
            name[len(root) + 1 :]: flops
            for name, flops in by_name.items()
            if name == root or name.startswith(f"{root}.")
        },
    )


def _hidden_in_scripts(module: nn.Module) -> str | None:
    """Name a part whose convolutions TorchScript runs past the dispatcher, where all count."""
    for name, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            continue
        graph = getattr(part, "inlined_graph", None)  # there is none without a forward of its own
        if graph is not None and graph.findAllNodes("prim::mkldnn_convolution", recurse=True):
            return f"TorchScript runs the convolutions of {name or 'the model'} out of sight"
    return None


def _formulas() -> dict[Any, Formula]:
    """Return what PyTorch's counter has no formula for; arguments are shapes, unless raw."""
    return {
        aten._scaled_dot_product_attention_math_for_mps: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_fused_attention_overrideable: _attention_flops,
        aten.mkldnn_rnn_layer: _raw(lambda x, *rest, **_: _recurrent_flops(x, rest[:2])),
        aten._cudnn_rnn: _raw(lambda x, weights, *_, **__: _recurrent_flops(x, weights)),
        aten.miopen_rnn: _raw(lambda x, weights, *_, **__: _recurrent_flops(x, weights)),
        aten._lstm_mps: _raw(lambda x, states, weights, *_, **__: _recurrent_flops(x, weights)),
        aten._int_mm: _product_flops,
        aten._addmm_activation: _sum_and_product_flops,
        aten.addmm_: _sum_and_product_flops,
        aten.baddbmm_: _sum_and_product_flops,
        aten.addbmm: _sum_and_product_flops,
        aten.addbmm_: _sum_and_product_flops,
        aten.addmv: _sum_and_product_flops,
        aten.addmv_: _sum_and_product_flops,
        aten.mv: _product_flops,
        aten.dot: _product_flops,
        aten.vdot: _product_flops,
        aten.addr: _outer_flops,
        aten.addr_: _outer_flops,
        aten._weight_int8pack_mm: _packed_product_flops,
        aten.conv_tbc: _time_first_convolution_flops,
    }


def _raw(formula: Formula) -> Formula:
    formula._get_raw = True  # ty: ignore[missing-attribute] - PyTorch gives it tensors by this
    return formula


def _attention_flops(
    query: torch.Size, key: torch.Size, value: torch.Size, *rest: object, **more: object
) -> int:
    return sdpa_flop_count(query, key, value)


def _recurrent_flops(x: torch.Tensor, weights: Iterable[torch.Tensor]) -> int:
    """Count 2 operations per element of each matrix of weights, at each time step of each row.

    x has the shape (…, features), packed or not; matrices are those of the gates for inputs and
    for states, and of projections. What has one dimension is a bias.
    """
    rows = x.numel() // x.shape[-1]
    return 2 * rows * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _product_flops(a: torch.Size, b: torch.Size, *rest: object, **more: object) -> int:
    """Count a (…, m, k) times (…, k, n), (k, n) or (k)."""
    return 2 * math.prod(a) * (b[-1] if len(b) > 1 else 1)


def _sum_and_product_flops(
    total: torch.Size, a: torch.Size, b: torch.Size, *rest: object, **more: object
) -> int:
    return _product_flops(a, b)


def _outer_flops(
    total: torch.Size, a: torch.Size, b: torch.Size, *rest: object, **more: object
) -> int:
    return 2 * math.prod(a) * math.prod(b)


def _packed_product_flops(a: torch.Size, b: torch.Size, *rest: object, **more: object) -> int:
    """Count (m, k) times the transpose of (n, k)."""
    return 2 * math.prod(a) * b[0]


def _time_first_convolution_flops(
    x: torch.Size, weight: torch.Size, *rest: object, out_shape: torch.Size, **more: object
) -> int:
    """Count a convolution of (time, batch, channels) by (width, channels in, channels out)."""
    return 2 * out_shape[0] * out_shape[1] * math.prod(weight)
