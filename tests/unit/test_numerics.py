"""Is the candidate still right?"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
import torch
from transformers.modeling_outputs import CausalLMOutput

from torchmodes.measure.numerics import (
    LOSS_TOLERANCE,
    OUTPUT_TOLERANCE,
    compare,
    compare_losses,
    nothing_to_compare,
)

PRECISIONS = list(OUTPUT_TOLERANCE)


@pytest.fixture
def output() -> torch.Tensor:
    return torch.randn(8, 1000, generator=torch.Generator().manual_seed(0))


def off_by(output: torch.Tensor, relative_l2: float) -> torch.Tensor:
    noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    return output + noise / noise.norm() * output.norm() * relative_l2


def test_figures_are_their_definitions(output: torch.Tensor) -> None:
    candidate = off_by(output, 0.01)
    said = compare(output, candidate, precision="bf16")
    b, c = output.double().flatten(), candidate.double().flatten()
    assert said.relative_l2 == pytest.approx(float((c - b).norm() / b.norm()))
    assert said.max_abs == pytest.approx(float((c - b).abs().max()))
    guarded = torch.maximum(b.abs(), b.square().mean().sqrt())
    assert said.max_rel == pytest.approx(float(((c - b).abs() / guarded).max()))
    assert said.cosine == pytest.approx(float(torch.cosine_similarity(b, c, dim=0)))
    assert (said.tolerance, said.within_tolerance, said.reason) == (2e-2, True, None)


@pytest.mark.parametrize(
    ("precision", "honest"),
    [("fp32", 5e-6), ("tf32", 1e-3), ("fp16", 1e-3), ("bf16", 8e-3), ("int8", 3e-2)],
)
def test_honest_errors_pass(output: torch.Tensor, precision: str, honest: float) -> None:
    assert compare(output, off_by(output, honest), precision=precision).within_tolerance


@pytest.mark.parametrize(("dtype", "rounds_as"), [("float16", "fp16"), ("bfloat16", "bf16")])
def test_an_output_in_half_precision_has_the_limit_of_what_it_rounds_to(
    output: torch.Tensor, dtype: str, rounds_as: str
) -> None:
    half = output.to(getattr(torch, dtype))
    said = compare({"y": half}, {"y": off_by(output, 4e-3).to(half.dtype)}, precision="fp32")
    assert (said.within_tolerance, said.tolerance) == (True, OUTPUT_TOLERANCE[rounds_as])
    assert not compare(output, off_by(output, 4e-3).half(), precision="fp32").within_tolerance
    assert compare(half, half, precision="int8").tolerance == OUTPUT_TOLERANCE["int8"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_limit_is_the_relative_l2_error(output: torch.Tensor, precision: str) -> None:
    limit = OUTPUT_TOLERANCE[precision]
    assert compare(output, off_by(output, 0.98 * limit), precision=precision).within_tolerance
    assert not compare(output, off_by(output, 1.02 * limit), precision=precision).within_tolerance


@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_wrong_item_among_many_is_wrong(precision: str) -> None:
    rows = torch.randn(100_000, 16, generator=torch.Generator().manual_seed(0))
    spoilt = off_by(rows, OUTPUT_TOLERANCE[precision] / 4)
    assert compare(rows, spoilt, precision=precision).within_tolerance
    rows[17], spoilt[17] = 1.0, 1.0 + 6 * OUTPUT_TOLERANCE[precision]
    said = compare(rows, spoilt, precision=precision)
    assert said.whole_error < said.tolerance < said.error
    assert said.reason is not None
    assert said.reason.startswith("output: one of 100,000 items has a relative L2 error of ")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("place", [np.s_[5], np.s_[:, 20], np.s_[:, :, 7]])
def test_one_item_position_or_class_that_is_lost_is_wrong(precision: str, place: object) -> None:
    logits = torch.randn(32, 40, 24, generator=torch.Generator().manual_seed(0))
    spoilt = off_by(logits, 0.9 * OUTPUT_TOLERANCE[precision])
    assert compare(logits, spoilt, precision=precision).within_tolerance
    spoilt = off_by(logits, OUTPUT_TOLERANCE[precision] / 4)
    spoilt[place] = 0.0
    said = compare(logits, spoilt, precision=precision)
    assert said.error > said.tolerance
    assert not said.within_tolerance


def test_slices_of_few_values_are_not_looked_at() -> None:
    logits = torch.randn(4, 50_000, generator=torch.Generator().manual_seed(0))
    swapped = logits.clone()
    swapped[:, 0] = 0.0
    assert compare(logits, swapped, precision="int8").worst_slice is None
    said = compare(logits.repeat(2, 1), swapped.repeat(2, 1), precision="int8")
    assert said.reason is not None
    assert "one of 50,000 slices of the shape (8, 50000) has" in said.reason


@pytest.mark.parametrize("mask", [-1e4, -1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_beside_a_mask_the_other_values_count(mask: float, precision: str) -> None:
    logits = torch.randn(8, 100, generator=torch.Generator().manual_seed(0))
    masked = torch.arange(100) % 3 == 0
    expected, spoilt = logits.masked_fill(masked, mask), -logits.masked_fill(masked, -mask)
    assert not compare(expected, spoilt, precision=precision).within_tolerance
    for same in (mask, 0.99 * mask, -math.inf):  # rounded otherwise, or what it stands for
        actual = logits.masked_fill(masked, same)
        assert compare(expected, actual, precision=precision).relative_l2 == 0
    said = compare(expected, logits.masked_fill(~masked, mask), precision=precision)
    assert said.reason == f"output: the baseline is masked by {mask:g} at other places"


def test_one_large_value_is_no_mask() -> None:
    prices = torch.tensor([[1e6], [3.0], [2.0]])
    assert compare(prices, prices + 1, precision="bf16").within_tolerance


def test_an_item_near_zero_is_measured_by_the_others_and_a_large_one_by_itself() -> None:
    rows = torch.tensor([[1.0, 0.0], [1e-9, 0.0], [1e3, 0.0], [1.0, 0.0]])
    typical = float(rows.norm() / 2)
    said = compare(rows, rows + torch.tensor([0.0, 0.5]), precision="int8")
    assert said.worst_item == pytest.approx(0.5 / typical)
    said = compare(rows, rows * 1.01, precision="int8")
    assert said.worst_item == pytest.approx(0.01)


@pytest.mark.parametrize("shape", [(), (1, 1000), (0, 4)])
def test_an_output_of_one_item_has_no_worst(shape: tuple[int, ...]) -> None:
    assert compare(torch.ones(shape), torch.ones(shape), precision="fp32").worst_item is None


def test_items_are_found_beside_a_mask_and_in_complex_numbers() -> None:
    masked = torch.ones(300, 2).masked_fill(torch.eye(300, 2).bool(), -math.inf)
    wrong = masked.clone()
    wrong[7] = 0.0
    assert compare(masked, masked, precision="int8").worst_item == 0
    assert compare(masked, wrong, precision="int8").worst_item == pytest.approx(1, rel=0.01)
    waves = torch.ones(300, 2, dtype=torch.complex64)
    turned = waves.clone()
    turned[7] *= 1j
    assert compare(waves, turned, precision="int8").worst_item == pytest.approx(math.sqrt(2))


def test_one_per_cent_off_is_wrong_in_fp32(output: torch.Tensor) -> None:
    said = compare(output, output * 1.01, precision="fp32")
    assert not said.within_tolerance
    assert said.reason == "output: relative L2 error 0.01, above 0.0001"


def test_bf16_weights_pass_as_bf16_but_not_as_fp32() -> None:
    torch.manual_seed(0)
    layer, x = torch.nn.Linear(512, 512), torch.randn(4, 512)
    expected = layer(x)
    actual = layer.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert compare(expected, actual, precision="bf16").within_tolerance
    assert not compare(expected, actual, precision="fp32").within_tolerance


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_value_that_is_not_finite_is_wrong(
    output: torch.Tensor, value: float, precision: str
) -> None:
    candidate = output.clone()
    candidate[3, 7] = value
    said = compare(output, candidate, precision=precision)
    assert not said.within_tolerance
    assert said.reason == "output: 1 of 8000 values are NaN or infinite"


def test_a_mask_of_minus_infinity_is_no_fault(output: torch.Tensor) -> None:
    output[:, :10] = -math.inf
    assert compare(output, output.clone(), precision="fp32").within_tolerance
    assert not compare(output, output.clamp(min=-9), precision="fp32").within_tolerance
    output[0, 0] = math.inf
    flipped = output.clone()
    flipped[0, 0] = -math.inf
    assert not compare(output, flipped, precision="fp32").within_tolerance


def test_a_baseline_that_is_all_nan_verifies_nothing() -> None:
    nan = torch.full((3,), math.nan)
    assert "nothing can be verified" in compare(nan, nan, precision="fp32").reason
    assert compare([nan, 1.0], [nan, 1.0], precision="fp32").within_tolerance
    assert not compare([nan, 1.0], [nan, 1.1], precision="fp32").within_tolerance
    assert not compare([nan, 1.0], [0 * nan.nan_to_num(), 1.0], precision="fp32").within_tolerance


@pytest.mark.parametrize("shape", [(8, 999), (1, 8, 1000), (8000,), (1000, 8)])
def test_another_shape_is_wrong(output: torch.Tensor, shape: tuple[int, ...]) -> None:
    said = compare(output, torch.zeros(shape), precision="int8")
    assert not said.within_tolerance
    assert said.reason == f"output has the shape {shape}, the baseline's is (8, 1000)"
    assert said.relative_l2 is said.max_abs is None


@dataclass
class Detection:
    boxes: torch.Tensor
    scores: torch.Tensor
    note: None = None


def test_containers_may_differ_but_tensors_may_not(output: torch.Tensor) -> None:
    other = output.flip(0)
    candidates = [
        (output, other),
        [output.numpy(), other.numpy()],
        {"logits": output, "hidden": other},
        Detection(output, other),
    ]
    for candidate in candidates:
        baseline = {"logits": output, "hidden": other}
        assert compare(baseline, candidate, precision="fp32").within_tolerance
    swapped = compare((output, other), (other, output), precision="fp32")
    assert not swapped.within_tolerance


def test_model_outputs_of_transformers_are_read(output: torch.Tensor) -> None:
    baseline = CausalLMOutput(logits=output, hidden_states=(output, output))
    assert compare(baseline, (output, output, output), precision="fp32").within_tolerance
    wrong = CausalLMOutput(logits=output, hidden_states=(output, output * 1.01))
    assert compare(baseline, wrong, precision="fp32").reason.startswith(
        "output['hidden_states'][1]"
    )


def test_a_key_value_cache_is_read() -> None:
    from transformers import DynamicCache

    caches = []
    for last in (0.0, 0.0, 1.0):
        cache = DynamicCache()
        cache.update(torch.ones(1, 2, 3, 4), torch.full((1, 2, 3, 4), last), 0)
        caches.append(cache)
    assert compare(caches[0], caches[1], precision="fp32").within_tolerance
    assert not compare(caches[0], caches[2], precision="fp32").within_tolerance


def test_other_keys_or_another_number_are_wrong(output: torch.Tensor) -> None:
    renamed = compare({"logits": output}, {"logit": output}, precision="fp32")
    assert renamed.reason == "output keys differ: missing ['logits'], unexpected ['logit']"
    fewer = compare((output, output), output, precision="fp32")
    assert fewer.reason == "the output holds 1 tensors, the baseline's 2"
    assert "no tensor" in compare("text", "text", precision="fp32").reason
    assert "no tensor" in compare(None, None, precision="fp32").reason


def test_keys_are_matched_by_name_not_by_order(output: torch.Tensor) -> None:
    one, other = {"a": output, "b": -output}, {"b": -output, "a": output}
    assert compare(one, other, precision="fp32").within_tolerance


def test_nested_keys_are_matched_by_name_too(output: torch.Tensor) -> None:
    baseline = {"o": {"a": output, "b": -output}, "p": [{"c": output}]}
    other = {"p": [{"c": output}], "o": {"b": -output, "a": output}}
    assert compare(baseline, other, precision="fp32").within_tolerance
    other["p"] = [{"d": output}]
    said = compare(baseline, other, precision="fp32")
    assert said.reason == "output['p'][0] keys differ: missing ['c'], unexpected ['d']"
    said = compare([(output, output)], [(output,)], precision="fp32")
    assert said.reason == "the output[0] holds 1 tensors, the baseline's 2"


def test_a_small_tensor_cannot_hide_behind_a_large_one(output: torch.Tensor) -> None:
    small = torch.full((2,), 1e-3)
    large = 1000 * output
    said = compare((large, small), (off_by(large, 5e-5), small * 2), precision="fp32")
    assert said.relative_l2 == pytest.approx(1.0)
    assert said.reason.startswith("output[1]")


def test_one_wrong_row_of_a_thousand_is_seen() -> None:
    output = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    candidate = output.clone()
    candidate[500] = candidate[499]
    assert not compare(output, candidate, precision="fp32").within_tolerance


def test_integers_are_compared_by_the_share_that_differs() -> None:
    tokens = torch.arange(100)
    changed = tokens.clone()
    changed[:3] = 0
    said = compare(tokens, changed, precision="fp32")
    assert (said.differing, said.relative_l2, said.within_tolerance) == (0.02, None, False)
    assert said.reason == "output: 2 % of the integers differ, above 0.01 %"
    assert compare(tokens, changed, precision="int8").within_tolerance
    over = compare(tokens > 1, changed > 1, precision="fp32")
    assert over.reason == "output: 1 % of the truth values differ, above 0.01 %"


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_scale_changes_no_relative_figure(output: torch.Tensor, scale: float) -> None:
    one = compare(output.double(), off_by(output, 0.01).double(), precision="bf16")
    other = compare(
        output.double() * scale, off_by(output, 0.01).double() * scale, precision="bf16"
    )
    for figure in ("relative_l2", "max_rel", "cosine"):
        assert getattr(one, figure) == pytest.approx(getattr(other, figure))


def test_zeros_are_compared_absolutely() -> None:
    zeros = torch.zeros(10)
    assert compare(zeros, zeros, precision="fp32").relative_l2 == 0
    assert not compare(zeros, zeros + 0.1, precision="fp32").within_tolerance


@pytest.mark.parametrize("other", [torch.float64, torch.float16, torch.bfloat16])
def test_types_may_differ(other: torch.dtype) -> None:
    assert compare(torch.ones(4), torch.ones(4, dtype=other), precision="fp32").relative_l2 == 0


def test_numbers_and_complex_and_empty_outputs() -> None:
    assert compare(1.5, np.float32(1.5), precision="fp32").within_tolerance
    spectrum = torch.fft.fft(torch.randn(16))
    assert compare(spectrum, spectrum.clone(), precision="fp32").within_tolerance
    assert not compare(spectrum, spectrum.conj(), precision="fp32").within_tolerance
    real = compare(spectrum, spectrum.real, precision="fp32")
    assert real.reason == "output is of torch.float32, the baseline's of torch.complex64"
    assert not compare(torch.ones(2).int(), torch.ones(2) + 0j, precision="fp32").within_tolerance
    assert compare(torch.empty(0, 4), torch.empty(0, 4), precision="fp32").within_tolerance


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint64])
def test_large_integers_are_told_apart_where_doubles_are_not(dtype: torch.dtype) -> None:
    large = torch.tensor([2**60, 3], dtype=dtype)
    said = compare(large, torch.tensor([2**60 + 1, 3], dtype=dtype), precision="fp32")
    assert (said.differing, said.max_abs, said.within_tolerance) == (0.5, 1.0, False)
    assert compare(large, large.clone(), precision="fp32").within_tolerance
    assert not compare(2**60, 2**60 + 1, precision="fp32").within_tolerance


def test_integers_of_other_types_are_compared_by_their_values() -> None:
    assert compare(torch.tensor([1, 0]), torch.tensor([True, False]), precision="fp32").max_abs == 0
    far = compare(torch.tensor([-(2**62)]), torch.tensor([2.0**62]), precision="fp32")
    assert (far.differing, far.max_abs) == (1.0, 2.0**63)
    ends = compare(torch.tensor([-(2**63)]), torch.tensor([2**63 - 1]), precision="fp32")
    assert ends.max_abs == 2.0**64
    wrapped = torch.tensor([2**64 - 1], dtype=torch.uint64)
    assert not compare(torch.tensor([-1]), wrapped, precision="fp32").within_tolerance


def test_an_integer_beyond_64_bits_is_compared_as_it_is() -> None:
    one = {"x": torch.ones(2), "key": 2**63}
    assert compare(one, one, precision="fp32").within_tolerance
    said = compare(one, one | {"key": 2**63 + 1}, precision="fp32")
    assert said.reason == (
        "output['key'] is 9223372036854775809, the baseline's is 9223372036854775808"
    )


@dataclass
class Labelled:
    scores: torch.Tensor
    label: str | None


def test_texts_among_tensors_are_the_same_or_wrong(output: torch.Tensor) -> None:
    cat = Labelled(output, "cat")
    assert compare(cat, Labelled(output.clone(), "cat"), precision="fp32").within_tolerance
    assert not compare(cat, Labelled(output * 1.01, "cat"), precision="fp32").within_tolerance
    said = compare(cat, Labelled(output, "dog"), precision="fp32")
    assert said.reason == "output.label is 'dog', the baseline's is 'cat'"
    said = compare(cat, Labelled(output, None), precision="fp32")
    assert said.reason == "the output holds 1 values, the baseline's 2"
    said = compare([output, "cat"], [output, output], precision="fp32")
    assert said.reason == "output[1] is a tensor, the baseline's is 'cat'"
    reds = [{"x": output, "colour": Enum("Colour", "RED BLUE").RED} for _ in range(2)]
    assert compare(*reds, precision="fp32").within_tolerance
    reds[1]["colour"] = type(reds[1]["colour"]).BLUE
    assert not compare(*reds, precision="fp32").within_tolerance
    kinds = {"x": output, "dtype": torch.int8, "names": np.array(["a", "b"])}
    assert compare(kinds, dict(kinds), precision="fp32").within_tolerance
    assert not compare(kinds, kinds | {"dtype": torch.uint8}, precision="fp32").within_tolerance


def test_texts_alone_verify_nothing() -> None:
    assert not compare(["cat"], ["cat"], precision="fp32").within_tolerance
    told = nothing_to_compare(["cat"])
    assert told is not None
    assert told[0] == "the model returns no tensor (list), so nothing can be compared"


@pytest.mark.parametrize("sparse", ["to_sparse", "to_sparse_csr"])
def test_sparse_outputs_are_compared_with_their_zeros(sparse: str) -> None:
    with torch.inference_mode():
        one = getattr(torch.eye(4), sparse)()
    assert compare(one, getattr(torch.eye(4), sparse)(), precision="fp32").within_tolerance
    assert compare(one, torch.eye(4), precision="fp32").within_tolerance
    assert not compare(one, getattr(torch.ones(4, 4), sparse)(), precision="fp32").within_tolerance
    assert compare(one.bool(), one.bool(), precision="fp32").differing == 0


LOSSES = [1.0 / step for step in range(1, 21)]


def test_losses_are_compared_as_one_trajectory() -> None:
    candidate = [loss * (1 + 5e-4) for loss in LOSSES]
    said = compare_losses(LOSSES, candidate, precision="fp32")
    assert said.relative_l2 == pytest.approx(5e-4)
    assert (said.compared, said.within_tolerance, said.tolerance) == ("losses", True, 1e-3)
    assert said.worst_item is None, "a loss is no item of a batch"


@pytest.mark.parametrize("precision", list(LOSS_TOLERANCE))
def test_the_limit_of_losses(precision: str) -> None:
    for factor, within in ((0.98, True), (1.02, False)):
        candidate = [loss * (1 + factor * LOSS_TOLERANCE[precision]) for loss in LOSSES]
        assert compare_losses(LOSSES, candidate, precision=precision).within_tolerance is within


def test_losses_that_explode_or_end_early_are_wrong() -> None:
    exploded = compare_losses(LOSSES, [*LOSSES[:-1], math.nan], precision="bf16")
    assert exploded.reason == "losses: 1 of 20 values are NaN or infinite"
    assert "shape" in compare_losses(LOSSES, LOSSES[:-1], precision="bf16").reason
