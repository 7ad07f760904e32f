"""Text generation: a mode's tokens against transformers' own, and what a record says of them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from pydantic import TypeAdapter

from tests.engine_cases import mode
from torchmodes.config import parse_config
from torchmodes.config.faults import InvalidConfig
from torchmodes.config.models import Model
from torchmodes.config.run import Measurement
from torchmodes.measure import generation as measured
from torchmodes.measure.case import measure
from torchmodes.planning.cases import parse_case
from torchmodes.planning.job import EAGER, Job
from torchmodes.report.studies import position
from torchmodes.results.records import Divergence, Generation, Numerics
from torchmodes.studies import position_job
from torchmodes.studies.catalogue import Position, Positions
from torchmodes.workloads import generation
from torchmodes.workloads.modes.base import Refused
from torchmodes.workloads.workload import Workload, carry_out, workload_of

PROMPT, NEW = 7, 6
# Weights as wide as these: a narrower random model says one token again and again.
GPT2 = {"n_layer": 2, "n_embd": 32, "n_head": 2, "vocab_size": 101, "initializer_range": 0.5}
LLAMA = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 101,
    "initializer_range": 0.5,
}
XLNET = {"n_layer": 1, "d_model": 16, "n_head": 2, "d_inner": 32, "vocab_size": 101}
OPTIONS = {"gpt2": GPT2, "llama": LLAMA, "qwen2": LLAMA, "mistral": LLAMA, "xlnet": XLNET}
EAGER_STATIC = mode("eager", cache="static")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    torch.set_num_threads(threads)


def job(section: dict[str, Any], source: str = "gpt2", **options: Any) -> Job:
    model = {
        "family": "transformers",
        "source": source,
        "head": "causal-lm",
        "options": {**OPTIONS[source], **options},
        "generation": {"prompt_length": PROMPT, "new_tokens": NEW},
    }
    name = "eager" if section == EAGER else "mode"
    path = f"generation/cpu/{source}/{name}/fp32-b2"
    return Job(
        case=parse_case(path),
        model=TypeAdapter(Model).validate_python(model).model_dump(),
        mode=section,
        seed=3,
        threads=1,
        measurement=Measurement(budget_s=0.05, warmup_budget_s=0.05),
    )


def greedy(workload: Workload) -> torch.Tensor:
    assert workload.decoding is not None
    with workload.context():
        return workload.decoding.greedy(workload.decoding.text)


@pytest.mark.parametrize("source", ["gpt2", "llama", "qwen2"])
def test_tokens_are_those_that_transformers_generates(source: str) -> None:
    workload = workload_of(job(EAGER, source))
    model: Any = workload.built.module.get_submodule("model")
    prompt = workload.inputs.tensors()[0][:, :PROMPT]
    own = model.generate(
        prompt, max_new_tokens=NEW, do_sample=False, use_cache=True, eos_token_id=None
    )[:, PROMPT:]
    assert len(own.unique()) > 2, "a text that says nothing twice, or the test shows nothing"
    assert greedy(workload).tolist() == own.tolist()
    assert greedy(workload_of(job(EAGER_STATIC, source))).tolist() == own.tolist()


@pytest.mark.parametrize(
    "section",
    [
        mode("compile", backend="eager"),
        mode("torchscript", method="trace"),
        mode("export"),
        mode("onnxruntime"),
    ],
    ids=lambda section: section["engine"],
)
def test_every_engine_generates_eagers_tokens(section: dict[str, Any]) -> None:
    expected = greedy(workload_of(job(EAGER)))
    workload = workload_of(job(section))
    assert greedy(workload).tolist() == expected.tolist()
    assert greedy(workload).tolist() == expected.tolist(), "it begins anew, whatever it kept"


def test_the_step_that_is_timed_stays_at_its_position() -> None:
    workload = workload_of(job(EAGER_STATIC))
    text = workload.decoding
    assert text is not None
    with workload.context():
        first = workload.call().clone()
        again = workload.call().clone()
        whole = list(text.walk(text.text))
    assert torch.equal(first, again)
    # The prompt's logits come first; the step at position p follows p - PROMPT others.
    torch.testing.assert_close(first, whole[text.position - PROMPT + 1])
    assert text.position == 9, "the steps are at 7, 8, 9, 10 and 11"


def test_a_whole_generation_takes_as_long_as_its_parts() -> None:
    workload = workload_of(job(EAGER_STATIC, n_layer=1))
    text = workload.decoding
    assert text is not None

    def least(call: Any) -> float:
        times = []
        for _ in range(30):  # of the one thread alone: other programs may keep the machine busy
            began = time.thread_time()
            call()
            times.append(time.thread_time() - began)
        return min(times)

    with workload.context():
        parts = least(text.prompt) + (NEW - 1) * least(text.decode)
        text.greedy(text.text)
        whole = least(lambda: text.greedy(text.text))
    assert 0.6 < parts / whole < 1.5


@pytest.fixture(scope="module")
def record() -> Generation:
    found = carry_out(measure, job(EAGER_STATIC))
    assert found["status"] == "ok", found["reason"]
    assert found["item"] == "token"
    return Generation.model_validate(found["generation"])


def test_a_record_tells_what_was_generated_and_how_fast(record: Generation) -> None:
    assert (record.prompt_length, record.new_tokens, record.position) == (PROMPT, NEW, 9)
    assert record.cache == "static"
    assert record.sequences == 4, "two input sets of two sequences"
    assert record.divergence is None
    assert len(record.logit_errors) == NEW
    assert max(error for error in record.logit_errors if error is not None) < 1e-5
    # Two layers, keys and values, two sequences, 13 positions of 32 floats.
    assert record.cache_bytes == 2 * 2 * 2 * 13 * 32 * 4
    assert record.prefill is not None
    assert record.whole is not None
    assert record.between_tokens is not None
    assert record.whole.candidate.median_s > record.prefill.candidate.median_s
    assert record.tokens_per_s == pytest.approx(NEW / record.whole.candidate.median_s)
    assert record.between_tokens.n % (NEW - 1) == 0
    assert [step.position for step in record.ends] == [7, 11]
    assert record.accounted is not None
    assert record.accounted_half_width is not None
    assert record.of_reference is None, "only eager's own case is held against transformers"


def test_eagers_case_is_held_against_what_transformers_takes() -> None:
    told = Generation.model_validate(carry_out(measure, job(EAGER, n_layer=1))["generation"])
    assert told.of_reference is not None
    assert 0.1 < told.of_reference < 3, "the same work, with more bookkeeping around it there"


def test_what_a_folder_asks_of_generation_does_not_reach_what_eager_is_held_against(
    tmp_path,
) -> None:
    source = transformers.AutoConfig.for_model("gpt2", **GPT2)
    model = transformers.AutoModelForCausalLM.from_config(source)
    model.save_pretrained(tmp_path)
    asked = transformers.GenerationConfig(
        num_beams=3, no_repeat_ngram_size=1, max_length=PROMPT + 2
    )
    asked.save_pretrained(tmp_path)
    planned = job(EAGER)
    planned.model.update(source=str(tmp_path), weights="pretrained")
    workload = workload_of(planned)
    assert workload.decoding is not None
    assert workload.decoding.reference is not None
    workload.decoding.text[:, 3] = 0  # a token like any other, and not padding
    with workload.context():
        generated = workload.decoding.reference(workload.decoding.text)
    assert generated.tolist() == greedy(workload).tolist()


def test_parts_add_up_by_the_mean_of_the_first_step_and_the_last() -> None:
    parts = measured.Passage(whole_s=2.0, prompt_s=0.4, ends_s=(0.1, 0.3), reference_s=None)
    assert parts.accounted(steps=8) == pytest.approx(1.0)


def test_the_uncertainty_of_a_share_is_of_the_spread_of_both_sides() -> None:
    assert measured._half_width([1.0, 1.0], [0.9, 0.9]) == 0.0, "each side agrees with itself"
    # Two deviations of ± 1 % about each mean, two degrees of freedom, a mean of two.
    spread = [math.exp(0.01), math.exp(-0.01)]
    assert measured._half_width(spread, spread) == pytest.approx(
        math.expm1(4.3027 * 0.01), rel=1e-3
    )


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"accounted": 1.04, "of_reference": 0.96}, []),
        ({"accounted": 0.93}, ["its prompt and steps, each timed alone, take 93 %"]),
        ({"of_reference": 1.07}, ["eager's whole generation takes 107 % of the time of transf"]),
        ({"accounted": 1.10, "accounted_half_width": 0.04}, ["its prompt and steps, each timed"]),
        ({"accounted": 1.10, "accounted_half_width": 0.06}, []),
        ({"accounted": 0.91, "accounted_half_width": 0.06}, []),
    ],
)
def test_times_that_do_not_add_up_within_5_percent_and_their_uncertainty_are_told(
    record: Generation, shares: dict[str, float], said: list[str]
) -> None:
    told = record.model_copy(update={"accounted": 1.0, "accounted_half_width": 0.0, **shares})
    found = measured.cautions(told, quiet=True)
    assert len(found) == len(said)
    assert all(one.startswith(start) for one, start in zip(found, said, strict=True))
    assert measured.cautions(told, quiet=False) == []


def test_choices_of_a_lower_precision_are_counted_along_eagers_text() -> None:
    low = replace(
        job(EAGER_STATIC, n_layer=1, initializer_range=0.1),
        case=parse_case("generation/cpu/gpt2/mode/bf16-b2"),
    )
    found = carry_out(measure, low)
    assert found["status"] == "ok", found["reason"]
    told = found["agreement"]
    assert (told["decisions"], told["input_sets"]) == (2 * 2 * NEW, 2)
    assert 0.5 < told["top1"] <= 1


def test_one_walk_reaches_every_place_that_was_asked_for() -> None:
    for section in (EAGER, EAGER_STATIC):
        workload = workload_of(job(section))
        text = workload.decoding
        assert text is not None
        with workload.context():
            whole = list(text.walk(text.text))
        text.places = (7, 9, 11)
        workload.restart()
        with workload.context():
            for at in (11, 7, 9):
                torch.testing.assert_close(text.again(at), whole[at - PROMPT + 1])


def test_a_cache_that_is_written_at_the_wrong_position_is_wrong(monkeypatch) -> None:
    right = generation.Slots.update

    def one_too_early(self: Any, keys: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        if keys.shape[-2] == 1:
            self.cumulative_length = self.cumulative_length - 1
        return right(self, keys, values, *args, **kwargs)

    monkeypatch.setattr(generation.Slots, "update", one_too_early)
    found = carry_out(measure, job(EAGER_STATIC))
    assert found["status"] == "wrong"
    assert found["statistics"] is None
    apart = Divergence.model_validate(found["generation"]["divergence"])
    assert apart.token > 1, "the prompt is right, and so is what follows it at once"
    assert not apart.tie
    assert f"token {apart.token} is {apart.found} instead of {apart.expected}" in found["reason"]
    assert found["generation"]["logit_errors"][0] < 1e-5 < found["generation"]["logit_errors"][1]


def test_a_mode_whose_own_text_is_not_what_its_steps_foretell_is_wrong(monkeypatch) -> None:
    right = generation.Decoding.greedy

    def other_text(self: Any, text: torch.Tensor) -> torch.Tensor:
        tokens = right(self, text)
        return tokens if self.empty[0].numel() == 0 else tokens.roll(1, dims=1)  # static

    monkeypatch.setattr(generation.Decoding, "greedy", other_text)
    found = carry_out(measure, job(EAGER_STATIC))
    assert found["status"] == "wrong"
    assert "it generates other tokens than its steps do along eager's" in found["reason"]


NUMERICS = Numerics(
    within_tolerance=True,
    reason=None,
    compared="output",
    max_abs=0.0,
    max_rel=0.0,
    relative_l2=1e-6,
    cosine=1.0,
    tolerance=1e-4,
)


@pytest.mark.parametrize(
    ("precision", "gap", "within"),
    [("fp32", 1e-5, True), ("fp32", 0.1, False), ("int8", 10.0, True)],
)
def test_another_token_is_wrong_in_fp32_unless_it_is_a_tie(
    precision: str, gap: float, within: bool
) -> None:
    logits = torch.tensor([3.0, 3.0 - gap, 1.0])
    tie = measured._tie(logits, 0, 1, tolerance=1e-4)
    place = {"prompt": 0, "sequence": 0, "token": 5}
    apart = Divergence(**place, expected=0, found=1, gap=gap, tie=tie)
    case = replace(job(EAGER), case=parse_case(f"generation/cpu/m/x/{precision}-b1"))
    found = measured.Tokens(worst=NUMERICS, divergence=apart)
    numerics = measured.judged(case, found, NUMERICS)
    assert numerics.within_tolerance is within
    if not within:
        assert "token 5 is 1 instead of 0" in str(numerics.reason)
        assert "0.1 apart" in str(numerics.reason)


def test_a_cache_that_is_compiled_anew_as_it_grows_is_told() -> None:
    section = mode("compile", backend="eager", dynamic=False, cache="dynamic")
    found = carry_out(measure, job(section, n_layer=1))
    assert found["generation"]["compiled_at"] == [7, 8, 9, 10, 11]
    told = "it was recompiled at 5 of the 5 positions of the cache, such as 7, 8, 9"
    assert any(warning.startswith(told) for warning in found["warnings"])


def test_a_static_cache_is_compiled_once(record: Generation) -> None:
    assert record.compiled_at == []
    workload = workload_of(job(mode("compile", backend="eager")))
    text = workload.decoding
    assert text is not None
    with workload.context():
        list(text.walk(text.text))
    assert text.compiled_at == [PROMPT]


@pytest.mark.parametrize(
    ("section", "options", "reason"),
    [
        (EAGER, {"sliding_window": 4}, "keeps more than keys and values of all positions"),
        (mode("eager", context="grad"), {}, "context: grad does not generate text"),
        (mode("fx"), {}, "the engine fx does not generate text"),
        (
            mode("compile", backend="eager", after="export", cache="dynamic"),
            {},
            "takes inputs of one shape, and a dynamic cache grows",
        ),
    ],
)
def test_what_cannot_generate_says_why(
    section: dict[str, Any], options: dict[str, Any], reason: str
) -> None:
    found = carry_out(measure, job(section, "mistral", **options))
    assert found["status"] == "unsupported"
    assert reason in found["reason"]
    assert found["remedy"]


def test_a_model_that_keeps_no_keys_and_values_would_forget_its_text() -> None:
    found = carry_out(measure, job(EAGER, "xlnet"))
    assert found["status"] == "unsupported"
    assert "XLNetLMHeadModel keeps no keys and values of the tokens before" in found["reason"]


def test_a_window_that_is_left_out_is_full_attention() -> None:
    with pytest.raises(Refused, match="keeps more than keys and values") as refused:
        workload_of(job(EAGER, "mistral"))
    assert "options: { sliding_window: null }" in refused.value.unsupported.remedy
    assert len(greedy(workload_of(job(EAGER, "mistral", sliding_window=None)))[0]) == NEW


def test_a_kind_of_cache_is_refused_where_nothing_is_generated() -> None:
    case = replace(job(EAGER_STATIC), case=parse_case("inference/cpu/gpt2/x/fp32-b2"))
    found = carry_out(measure, case)
    assert found["reason"] == "cache: static is for the task generation"


def test_a_text_longer_than_the_model_names_the_lengths() -> None:
    with pytest.raises(ValueError, match=r"13 is more than the 10 positions .* prompt_length"):
        workload_of(job(EAGER, n_positions=10))


def raw(**models: Any) -> dict[str, Any]:
    return {
        "data": {},
        "measurement": {},
        "models": models,
        "modes": {"eager": {"engine": "eager"}, "fx": {"engine": "fx"}},
        "benchmark": [
            {
                "task": "generation",
                "models": list(models),
                "modes": ["eager", "fx"],
                "batch_sizes": [1],
            }
        ],
        "studies": {
            "dynamic_shapes": [{"task": "generation", "models": [], "modes": []}],
            "position": [{"task": "inference", "models": [], "modes": []}],
        },
    }


def test_a_configuration_that_cannot_generate_is_refused_before_any_work() -> None:
    with pytest.raises(InvalidConfig) as refused:
        parse_config(
            raw(
                mlp={"family": "mlp"},
                bert={"family": "transformers", "source": "gpt2"},
                lm={"family": "transformers", "source": "gpt2", "head": "causal-lm"},
                t5={"family": "transformers", "source": "t5", "head": "seq2seq-lm"},
            )
        )
    told = str(refused.value)
    assert "benchmark[0].models[0]: 'mlp' cannot generate text" in told
    assert "benchmark[0].models[1]: 'bert' has no head that predicts the next token" in told
    assert "benchmark[0].models[2]" not in told
    assert (
        "benchmark[0].models[3]: 't5' is an encoder-decoder model, whose generation is not" in told
    )
    assert "benchmark[0].modes[1]: 'fx' cannot generate; engines that can: eager, compile" in told
    assert "studies.dynamic_shapes[0].task: this study does not cover generation" in told
    assert "studies.position[0].task: only generation has positions" in told


def test_the_study_of_positions_measures_the_step_where_it_says() -> None:
    assert position_job.positions(prompt_length=7, new_tokens=6) == [7, 8, 10, 11]
    assert position_job.positions(prompt_length=7, new_tokens=2) == [7]
    section = job(EAGER_STATIC)
    found = position_job.measure_positions(section)
    one = Positions.model_validate({**found, "case": section.case.identity()})
    assert [point.position for point in one.points] == [7, 8, 10, 11]
    result = Position(cases=[one])
    text, _, rows = position.tell(result)
    assert "at position 11 as at 7" in text
    assert [row[1] for row in rows] == ["7", "8", "10", "11"]
    assert position.draw(result) is not None


def test_a_step_at_another_position_is_that_of_the_walk() -> None:
    workload = workload_of(job(EAGER_STATIC))
    text = workload.decoding
    assert text is not None
    with workload.context():
        whole = list(text.walk(text.text))
    text.position = 11
    workload.restart()
    with workload.context():
        torch.testing.assert_close(workload.call(), whole[11 - PROMPT + 1])
