"""Text models of transformers as functions of token ids: (batch, tokens) → one tensor.

Building never touches the network: what is not a configuration name or a folder is read from the
hub's cache, and `download` is what fills it. transformers is imported by the functions, for it
takes seconds.
"""

from __future__ import annotations

import difflib
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchmodes.faults import meant
from torchmodes.models.base import BuiltModel, Inputs

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

HEADS = {
    "base": ("AutoModel", "MODEL_MAPPING"),
    "causal-lm": ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING"),
    "masked-lm": ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING"),
    "sequence-classification": (
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    ),
    "token-classification": (
        "AutoModelForTokenClassification",
        "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING",
    ),
}
"""The class that builds each head, and the table of the configurations it knows."""

NOT_IN_THE_CONFIGURATION = {"attn_implementation", "num_labels"}
"""Options that transformers takes with a configuration without showing them in it."""

HUB_SILENT_S = 10.0


class TokensToTensor(nn.Module):
    """A transformers model with one tensor as its output: the head's logits, or hidden states.

    Every engine is given this module, so that all run the same thing: transformers itself returns
    a dictionary-like object whose members depend on the configuration, and keeps a cache of
    attention keys that is of no use to a pass over whole sequences.
    """

    model: PreTrainedModel

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        model.config.use_cache = False
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run a batch of sequences.

        Parameters
        ----------
        input_ids
            Token ids, shape (batch, tokens).
        attention_mask
            1 for a token and 0 for padding, same shape; None where there is no padding.

        Returns
        -------
        torch.Tensor
            Shape (batch, tokens, width) or, of a sequence classifier, (batch, classes).
        """
        return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)[0]


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a model in fp32, with random token ids of shape (batch, sequence_length).

    Raises
    ------
    ValueError
        Naming the key at fault, with a remedy: an unknown source or option, a head the model does
        not have, a sequence that is too long, weights that are not on this machine.
    """
    with offline(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = _configuration(spec)
        _check_fits(spec, config)
        model = (_pretrained if spec["weights"] == "pretrained" else _random)(spec, config)
    if model.main_input_name != "input_ids":
        raise ValueError(
            f"source: {spec['source']!r} reads {model.main_input_name}, not tokens; bring it as a"
            " model of family user"
        )
    shape = batch_size, spec["sequence_length"]
    vocabulary = config.get_text_config().vocab_size

    # A generator of their own: random and pretrained weights get the same tokens. All are tokens,
    # none is padding: a mask would make some engines compute what others leave out.
    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        return Inputs.of(torch.randint(vocabulary, shape, generator=generator))

    return BuiltModel(
        module=TokensToTensor(model).eval(),
        inputs=draw(seed),
        item="sequence",
        batch_size=batch_size,
        draw=draw,
    )


def download(spec: Mapping[str, Any]) -> None:
    """Put what a model needs of the hub into the hub's cache, if it is not there.

    Raises
    ------
    ValueError
        When the hub is unreachable, switched off by HF_HUB_OFFLINE, or has no such model.
    """
    source, pretrained = spec["source"], spec["weights"] == "pretrained"
    if _folder(source) or (not pretrained and _names_configuration(source)):
        return
    from huggingface_hub import HfApi, snapshot_download

    try:
        # This request is made once; those of the download would be repeated for half a minute.
        siblings = HfApi().model_info(source, timeout=HUB_SILENT_S).siblings or []
        files = _needed([file.rfilename for file in siblings], weights=pretrained)
        snapshot_download(source, allow_patterns=files)
    except Exception as error:  # the HTTP library's errors have no common name
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot download {source!r} from the hub: {reason}") from error


@contextmanager
def offline() -> Generator[None]:
    """Keep to the cache; under `local_files_only` alone the hub's client still asks it for news."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _configuration(spec: Mapping[str, Any]) -> PretrainedConfig:
    """Read the configuration and apply the options, none of which may be without effect."""
    from huggingface_hub.errors import StrictDataclassError

    options = spec["options"]
    plain = _read_configuration(spec)
    known = {*plain.to_dict(), *plain.attribute_map, *NOT_IN_THE_CONFIGURATION}
    for key in options:
        if key not in known:
            raise ValueError(
                f"options: the configuration of {spec['source']!r} has no {key!r}"
                + meant(key, sorted(known))
            )
    try:
        return _read_configuration(spec, **options) if options else plain
    except StrictDataclassError as error:
        raise ValueError(f"options: {' '.join(str(error).split())}") from error


def _read_configuration(spec: Mapping[str, Any], **options: Any) -> PretrainedConfig:
    from transformers import AutoConfig

    source = spec["source"]
    folder = _folder(source)
    if folder is None and spec["weights"] == "random" and _names_configuration(source):
        return AutoConfig.for_model(source, **options)
    try:
        return AutoConfig.from_pretrained(
            folder or source, local_files_only=True, trust_remote_code=False, **options
        )
    except OSError as error:
        raise ValueError(_absent(spec)) from error


def _check_fits(spec: Mapping[str, Any], config: PretrainedConfig) -> None:
    """Refuse what transformers would refuse late, or not at all."""
    import transformers

    source, head, length = spec["source"], spec["head"], spec["sequence_length"]
    if config.is_encoder_decoder:
        raise ValueError(
            f"source: {source!r} is an encoder with a decoder, which needs two inputs; bring it as"
            " a model of family user"
        )
    heads = [
        name for name, (_, table) in HEADS.items() if type(config) in getattr(transformers, table)
    ]
    if head not in heads:
        raise ValueError(f"head: {source!r} has no {head!r}; it has {', '.join(heads) or 'none'}")
    positions = getattr(config, "max_position_embeddings", None)
    if positions and length > positions:
        raise ValueError(
            f"sequence_length: {length} is more than the {positions} positions of {source!r}"
        )
    if head == "sequence-classification" and config.get_text_config().pad_token_id is None:
        raise ValueError(
            f"options: {source!r} has no padding token, by which its classifier finds the last"
            " token; add pad_token_id, such as 0"
        )


def _random(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    try:
        return _auto_class(spec).from_config(config, dtype=torch.float32)
    except ValueError as error:  # such as heads that do not divide the width
        raise ValueError(f"options: {error}") from error


def _pretrained(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    source = spec["source"]
    try:
        model, loaded = _auto_class(spec).from_pretrained(
            _folder(source) or source,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are told below
            output_loading_info=True,
        )
    except OSError as error:
        raise ValueError(_absent(spec)) from error
    # A pooler does not touch the hidden states; anything else would be random in silence.
    lacking = {key for key in loaded["missing_keys"] if "pooler." not in key}
    lacking |= {key for key, *_ in loaded["mismatched_keys"]}
    if lacking:
        raise ValueError(
            f"weights: {source!r} has none that fit {len(lacking)} tensors of this model, such as"
            f" {min(lacking)}; choose the head and options it was saved with, or weights: random"
        )
    return model


def _auto_class(spec: Mapping[str, Any]) -> Any:
    import transformers

    return getattr(transformers, HEADS[spec["head"]][0])


def _folder(source: str) -> Path | None:
    path = Path(source).expanduser()
    return path if (path / "config.json").is_file() else None


def _names_configuration(source: str) -> bool:
    from transformers import CONFIG_MAPPING

    return source in CONFIG_MAPPING


def _absent(spec: Mapping[str, Any]) -> str:
    """Say that the source is not on this machine, and how to get it there."""
    from huggingface_hub import constants
    from transformers import CONFIG_MAPPING

    source = spec["source"]
    if source.startswith(("/", ".", "~")):
        needed = "config.json and weights" if spec["weights"] == "pretrained" else "config.json"
        return f"source: {source!r} is no folder here with {needed}, as save_pretrained writes them"
    if spec["weights"] == "pretrained":
        what = f"weights: pretrained, but {source!r} is no folder with weights"
        hint = "or use weights: random"
    else:
        what = f"source: {source!r} is no configuration name, no folder with a config.json"
        close = difflib.get_close_matches(source, CONFIG_MAPPING.keys(), n=1, cutoff=0.75)
        hint = f"did you mean {close[0]!r}?" if close else "or name another"
    return (
        f"{what}, and not in the hub's cache {constants.HF_HUB_CACHE}\n"
        f"`hf download {source}` gets it where there is a network, `make check ARGS=--download`"
        " what any configured model lacks; or set HF_HOME to a folder whose hub/ has it;"
        f" {hint}"
    )


def _needed(files: Iterable[str], *, weights: bool) -> list[str]:
    """Choose from a repository's files: one format of the weights, and the tokeniser's."""
    if not weights:
        return ["config.json"]
    top = [file for file in files if "/" not in file]
    texts = [file for file in top if file.endswith((".json", ".txt", ".model"))]
    tensors = [f for f in top if f.startswith("model") and f.endswith(".safetensors")]
    pickles = [f for f in top if f.startswith("pytorch_model") and f.endswith(".bin")]
    return texts + (tensors or pickles)
