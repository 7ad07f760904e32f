"""transformers' text models: one tensor out for every engine, nothing fetched behind one's back."""

from __future__ import annotations

import socket
import time

import pytest
import torch
import transformers
from huggingface_hub import constants
from huggingface_hub.utils import _detect_agent

from torchmodes.config.models import TransformersModel
from torchmodes.planning.provenance import folder_state
from torchmodes.workloads.models import build_model, download_weights
from torchmodes.workloads.models import transformers as family

SMALL = {
    "gpt2": {"n_layer": 2, "n_embd": 16, "n_head": 2, "vocab_size": 50},
    "distilbert": {"n_layers": 2, "dim": 16, "hidden_dim": 32, "n_heads": 2, "vocab_size": 50},
}
TOKENS = 8


def section(source="gpt2", head="causal-lm", **keys):
    given = {"source": source, "head": head, "options": SMALL.get(source, {})} | keys
    given.setdefault("sequence_length", TOKENS)
    return TransformersModel(family="transformers", **given).model_dump()


def build(spec, *, seed=42, batch_size=3):
    return build_model(spec, seed=seed, batch_size=batch_size, device="cpu")


def output_of(built):
    with torch.inference_mode():
        return built.inputs.call(built.module)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DistilBERT without a head, saved the way a user's own model is."""
    folder = tmp_path_factory.mktemp("mine")
    build(section("distilbert", "base"), seed=1).module.model.save_pretrained(folder)
    return folder


# --- One tensor ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "head", "shape"),
    [
        ("gpt2", "causal-lm", (3, TOKENS, 50)),
        ("gpt2", "base", (3, TOKENS, 16)),
        ("distilbert", "base", (3, TOKENS, 16)),
        ("distilbert", "masked-lm", (3, TOKENS, 50)),
        ("distilbert", "sequence-classification", (3, 2)),
        ("distilbert", "token-classification", (3, TOKENS, 2)),
    ],
)
def test_the_output_is_the_heads_logits_or_the_hidden_states(source, head, shape):
    built = build(section(source, head))
    assert built.inputs.args[0].shape == (3, TOKENS)
    assert output_of(built).shape == shape
    assert (built.item, built.module.training) == ("sequence", False)


def test_the_output_is_what_transformers_calls_logits():
    built = build(section())
    with torch.inference_mode():
        logits = built.module.model(*built.inputs.args, use_cache=True, return_dict=True).logits
    assert torch.equal(output_of(built), logits)


def test_no_attention_keys_are_kept_for_a_next_token():
    built = build(section())
    assert len(built.module.model(*built.inputs.args, return_dict=False)) == 1


@pytest.mark.parametrize(("source", "head"), [("gpt2", "causal-lm"), ("distilbert", "base")])
def test_engines_can_capture_the_module_and_get_the_same(source, head):
    built = build(section(source, head))
    args = built.inputs.args
    captured = {
        "compile": torch.compile(built.module, backend="aot_eager", fullgraph=True),
        "export": torch.export.export(built.module, args).module(),
        "trace": torch.jit.trace(built.module, args),
    }
    expected = output_of(built)
    with torch.inference_mode():
        for engine, call in captured.items():
            assert torch.allclose(call(*args), expected, atol=1e-6), engine
    torch._dynamo.reset()


TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
TOWER = TINY | {"vocab_size": 50}
PAIR = {"text_config": TOWER, "vision_config": TINY | {"image_size": 32, "patch_size": 16}}


@pytest.mark.parametrize("source", ["clip", "siglip"])
def test_a_model_that_needs_an_image_beside_each_text_gets_one(source):
    built = build(section(source, "base", options=PAIR))
    assert [tuple(given.shape) for given in built.inputs.args] == [(3, TOKENS), (3, 3, 32, 32)]
    assert output_of(built).shape == (3, 3)  # how well each image fits each text
    assert built.item == "pair"
    again = build(section(source, "base", options=PAIR))
    assert torch.equal(output_of(built), output_of(again))


def test_a_model_without_a_limit_takes_any_length():
    xlnet = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32, "vocab_size": 50}
    built = build(section("xlnet", "base", sequence_length=700, options=xlnet), batch_size=1)
    assert output_of(built).shape == (1, 700, 16)


ROBERTA = TOWER | {"max_position_embeddings": 20}


@pytest.mark.parametrize("source", ["roberta", "camembert", "mpnet"])
def test_positions_that_start_after_the_padding_token_are_not_all_there(source):
    """They start at padding_idx + 1 = 2, so that 20 rows are enough for 18 tokens."""
    built = build(section(source, "base", sequence_length=18, options=ROBERTA))
    assert output_of(built).shape == (3, 18, 16)
    told = f"sequence_length: 19 is more than the 18 positions of '{source}'"
    with pytest.raises(ValueError, match=told):
        build(section(source, "base", sequence_length=19, options=ROBERTA))


def test_a_mask_hides_padding():
    built = build(section("distilbert", "base"), batch_size=1)
    tokens = built.inputs.args[0]
    padded = torch.nn.functional.pad(tokens, (0, 4))
    mask = torch.nn.functional.pad(torch.ones_like(tokens), (0, 4))
    with torch.inference_mode():
        hidden = built.module(padded, mask)[:, :TOKENS]
    assert torch.allclose(hidden, output_of(built), atol=1e-5)


def test_weights_and_tokens_come_from_the_seed():
    assert torch.equal(output_of(build(section())), output_of(build(section())))
    assert not torch.equal(output_of(build(section())), output_of(build(section(), seed=7)))


# --- Faults, told at their key ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"source": "gtp2"}, r"(?s)'gtp2' is no configuration name.* did you mean 'gpt2'\?"),
        ({"source": "./nowhere"}, r"source: '\./nowhere' is no folder here with config\.json"),
        (
            {"source": "perceiver", "head": "base", "options": {}},
            "source: 'perceiver' reads inputs; bring it as a model of family user",
        ),
        (
            {"source": "distilbert", "options": {}},
            "head: 'distilbert' has no 'causal-lm'; it has base, masked-lm",
        ),
        (
            {"source": "bros", "head": "base", "options": TOWER},
            r"'bros' does not run on tokens alone \(ValueError: .* bbox\); .* model of family user",
        ),
        (
            {"source": "canine", "head": "base", "options": {}},
            "source: 'canine' has no vocabulary to draw tokens from; bring it as",
        ),
        (
            {"source": "align_text_model", "head": "base", "options": {}},
            "head: .* has no 'base'; it has none of those known here; bring it as a model",
        ),
        (
            {"source": "bert", "head": "base", "options": TOWER | {"num_attention_heads": 3}},
            r"options: 'bert' cannot be built with this configuration \(ValueError: The hidden",
        ),
        ({"sequence_length": 1025}, "sequence_length: 1025 is more than the 1024 positions"),
        (
            {"head": "sequence-classification"},
            "options: 'gpt2' has no padding token.* add pad_token_id",
        ),
        (
            {"options": {"n_layers": 2}},
            "options: the configuration of 'gpt2' has no 'n_layers'; did you mean 'n_layer'",
        ),
        ({"options": {"n_layer": "two"}}, "options: .*'n_layer'.* expected int"),
        ({"options": {"n_embd": 16, "n_head": 3}}, "options: .*divisible"),
    ],
    ids=lambda value: ", ".join(value) if isinstance(value, dict) else "",
)
def test_a_fault_names_its_key_and_a_remedy(keys, told):
    with pytest.raises(ValueError, match=told):
        build(section(**keys))


def test_options_that_the_configuration_does_not_show_have_their_effect():
    options = SMALL["distilbert"] | {"num_labels": 5, "attn_implementation": "eager"}
    built = build(section("distilbert", "sequence-classification", options=options))
    assert output_of(built).shape == (3, 5)
    assert built.module.model.config._attn_implementation == "eager"


# --- A folder of the user's own --------------------------------------------------------------


def test_a_folder_gives_its_own_weights(folder):
    built = build(section(str(folder), "base", weights="pretrained"))
    original = build(section("distilbert", "base"), seed=1)
    mine, theirs = built.module.state_dict(), original.module.state_dict()
    assert all(torch.equal(mine[key], tensor) for key, tensor in theirs.items())


def test_a_folder_gives_its_configuration_alone_where_weights_are_random(folder):
    built, other = (build(section(str(folder), "base"), seed=seed) for seed in (1, 2))
    assert output_of(built).shape == (3, TOKENS, 16)
    assert not torch.equal(output_of(built), output_of(other))


def test_weights_saved_in_half_precision_are_built_in_fp32(folder, tmp_path):
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    built = build(section(str(tmp_path), "base", weights="pretrained"))
    assert {p.dtype for p in built.module.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "keys",
    [{"head": "masked-lm"}, {"options": {"n_layers": 3}}, {"options": {"dim": 32}}],
    ids=["another head", "more layers", "another width"],
)
def test_weights_that_would_be_random_in_silence_are_refused(folder, keys):
    spec = section(str(folder), **({"head": "base", "weights": "pretrained"} | keys))
    with pytest.raises(ValueError, match=r"weights: .* has none that fit \d+ tensors of this"):
        build(spec)


def test_a_changed_folder_changes_the_stamp_of_its_results(folder, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())

    def state():
        return folder_state(TransformersModel(**section(str(tmp_path))).weights_folder())

    before = state()
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert [name for name, *_ in before] == ["config.json"]
    assert before != state()
    assert TransformersModel(**section("gpt2")).weights_folder() is None
    assert folder_state(None) == []


# --- The hub and its cache -------------------------------------------------------------------


def test_building_reads_the_hubs_cache_without_a_network(folder, tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--owner--mine" / "snapshots" / "0123abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(folder, target_is_directory=True)
    reference = tmp_path / "models--owner--mine" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text("0123abc")
    built = build(section("owner/mine", "base", weights="pretrained"))
    assert built.parameters == build(section(str(folder), "base")).parameters


def test_weights_that_are_not_here_are_told_with_every_way_to_get_them(monkeypatch, no_network):
    # Once a process the hub's client asks the hub about itself, even where files must be local.
    monkeypatch.setattr(_detect_agent, "_registry", None)
    with pytest.raises(ValueError, match="weights: pretrained, but 'nobody/nothing'") as caught:
        build(section("nobody/nothing", weights="pretrained"))
    for way in ("hf download nobody/nothing", "make check ARGS=--download", "HF_HOME", "random"):
        assert way in str(caught.value)


def test_nothing_is_downloaded_for_a_name_or_a_folder(folder, no_network):
    download_weights(section("gpt2"))
    download_weights(section(str(folder), weights="pretrained"))


def test_the_hub_switched_off_is_told(monkeypatch, no_network):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cannot download 'gpt2'.*HF_HUB_OFFLINE"):
        download_weights(section("gpt2", weights="pretrained"))


def test_a_hub_that_keeps_silent_is_given_up(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(family, "HUB_SILENT_S", 0.2)
        start = time.monotonic()
        with pytest.raises(ValueError, match=r"cannot download .gpt2. from the hub: .*timed out"):
            download_weights(section("gpt2", weights="pretrained"))
        assert time.monotonic() - start < 5


def test_one_format_of_the_weights_is_fetched_and_the_tokeniser():
    there = ["README.md", "config.json", "vocab.txt", "onnx/config.json", "onnx/model.onnx"]
    safe, pickled = ["model.safetensors", "tf_model.h5"], ["pytorch_model.bin"]
    text = ["config.json", "vocab.txt"]
    assert family._needed(there + safe + pickled, weights=True) == [*text, "model.safetensors"]
    assert family._needed(there + pickled, weights=True) == [*text, "pytorch_model.bin"]
    assert family._needed(there + safe, weights=False) == ["config.json"]
