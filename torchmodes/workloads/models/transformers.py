"""Text models of transformers as functions of token ids: (batch, tokens) → one tensor.

Building never touches the network: what is not a configuration name or a folder is read from the
hub's cache, and `download` is what fills it. transformers is imported by the functions, for it
takes seconds.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchmodes.config.faults import meant
from torchmodes.config.models import saved_model
from torchmodes.workloads.models.base import BuiltModel
from torchmodes.workloads.models.lengths import schedule_of_texts, without_padding
from torchmodes.workloads.structures import Inputs

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
_AS_USER = "bring it as a model of family user"


class FirstOutput(nn.Module):
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


class TokensToTensor(FirstOutput):
    """A model of texts."""

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run a batch of sequences.

        Parameters
        ----------
        input_ids
            Token ids, shape (batch, tokens).
        attention_mask
            1 for a token and 0 for padding, same shape; None where there is no padding.
        position_ids
            Of each token in its text, same shape; None: as the model numbers them, from the left.

        Returns
        -------
        torch.Tensor
            Shape (batch, tokens, width) or, of a sequence classifier, (batch, classes).
        """
        placed = {} if position_ids is None else {"position_ids": position_ids}
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=False, **placed
        )[0]


class TokensAndPixelsToTensor(FirstOutput):
    """A model of texts and images, such as CLIP."""

    def forward(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        """Run a batch of sequences, each beside an image.

        Parameters
        ----------
        input_ids
            Token ids, shape (batch, tokens).
        pixel_values
            Images, shape (batch, channels, size, size).

        Returns
        -------
        torch.Tensor
            What the model returns first: of CLIP, how well each image fits each text.
        """
        return self.model(input_ids=input_ids, pixel_values=pixel_values, return_dict=False)[0]


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a model in fp32, with random token ids of shape (batch, sequence_length).

    A model that needs an image beside each sequence gets random ones.

    Raises
    ------
    ValueError
        Naming the key at fault, with a remedy: an unknown source or option, a head the model does
        not have, a sequence that is too long, inputs other than these, weights that are not on
        this machine.
    """
    with offline(), torch.random.fork_rng(devices=[]):
        config = _configuration(spec)
        _check_fits(spec, config)
        image = _image_needed(spec, config)
        if spec.get("lengths") is not None:
            return _with_lengths(spec, config, image, seed=seed, batch_size=batch_size)
        torch.manual_seed(seed)
        model = (_pretrained if spec["weights"] == "pretrained" else _random)(spec, config)
    shape = batch_size, spec["sequence_length"]
    vocabulary = config.get_text_config().vocab_size

    # A generator of their own: random and pretrained weights get the same tokens. All are tokens,
    # none is padding: a mask would make some engines compute what others leave out.
    def draw(seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        tokens = torch.randint(vocabulary, shape, generator=generator)
        if image is None:
            return Inputs.of(tokens)
        return Inputs.of((tokens, torch.randn(batch_size, *image, generator=generator)))

    module, item = (
        (TokensToTensor(model), "sequence")
        if image is None
        else (TokensAndPixelsToTensor(model), "pair")
    )
    return BuiltModel(
        module=module.eval(), inputs=draw(seed), item=item, batch_size=batch_size, draw=draw
    )


def _with_lengths(
    spec: Mapping[str, Any],
    config: PretrainedConfig,
    image: tuple[int, ...] | None,
    *,
    seed: int,
    batch_size: int,
) -> BuiltModel:
    """Build a model with batches of texts of different lengths, the texts before the weights."""
    text = config.get_text_config()
    if image is not None:
        raise ValueError(f"lengths: {spec['source']!r} reads images beside texts; {_AS_USER}")
    schedule = schedule_of_texts(
        spec,
        seed=seed,
        batch_size=batch_size,
        vocabulary=text.vocab_size,
        padding_id=getattr(text, "pad_token_id", None),
    )
    built_from: Any = _model_class(spec, config)
    taken = inspect.signature(built_from.forward).parameters
    if spec["lengths"]["side"] == "left" and "position_ids" not in taken:
        raise ValueError(
            f"lengths.side: {spec['source']!r} takes no position_ids, so that padding on the left"
            " would move its texts; use side: right"
        )
    torch.manual_seed(seed)
    model = (_pretrained if spec["weights"] == "pretrained" else _random)(spec, config)
    first = schedule.batches[0]
    return BuiltModel(
        module=TokensToTensor(model).eval(),
        inputs=first,
        item="sequence",
        batch_size=batch_size,
        draw=lambda seed: first,
        schedule=schedule,
        judged=without_padding,
    )


def download(spec: Mapping[str, Any]) -> None:
    """Put what a model needs of the hub into the hub's cache, if it is not there.

    Raises
    ------
    ValueError
        When the hub is unreachable, switched off by HF_HUB_OFFLINE, or has no such model.
    """
    source, pretrained = spec["source"], spec["weights"] == "pretrained"
    if saved_model(source) or (not pretrained and _names_configuration(source)):
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
    options = spec["options"]
    plain = _read_configuration(spec)
    known = {*plain.to_dict(), *plain.attribute_map, *NOT_IN_THE_CONFIGURATION}
    for key in options:
        if key not in known:
            raise ValueError(
                f"options: the configuration of {spec['source']!r} has no {key!r}"
                + meant(key, sorted(known))
            )
    return _read_configuration(spec, **options) if options else plain


def _read_configuration(spec: Mapping[str, Any], **options: Any) -> PretrainedConfig:
    from transformers import AutoConfig

    source = spec["source"]
    folder = saved_model(source)
    try:
        if folder is None and spec["weights"] == "random" and _names_configuration(source):
            return AutoConfig.for_model(source, **options)
        return AutoConfig.from_pretrained(
            folder or source, local_files_only=True, trust_remote_code=False, **options
        )
    except OSError as error:
        raise ValueError(_absent(spec)) from error
    except Exception as error:  # each configuration checks its values in its own way
        raise ValueError(
            f"options: the configuration of {source!r} is not valid ({_one_line(error)})"
        ) from error


def _check_fits(spec: Mapping[str, Any], config: PretrainedConfig) -> None:
    """Refuse what transformers would refuse late, or not at all."""
    import transformers

    source, head, length = spec["source"], spec["head"], spec["sequence_length"]
    if config.is_encoder_decoder:
        raise ValueError(
            f"source: {source!r} is an encoder with a decoder, which needs two inputs; {_AS_USER}"
        )
    heads = [
        name for name, (_, table) in HEADS.items() if type(config) in getattr(transformers, table)
    ]
    if head not in heads:
        there = ", ".join(heads) or f"none of those known here; {_AS_USER}"
        raise ValueError(f"head: {source!r} has no {head!r}; it has {there}")
    reads = getattr(_model_class(spec, config), "main_input_name", "input_ids")
    if reads != "input_ids":
        raise ValueError(f"source: {source!r} reads {reads}, not tokens; {_AS_USER}")
    text = config.get_text_config()
    if not isinstance(getattr(text, "vocab_size", None), int):
        raise ValueError(f"source: {source!r} has no vocabulary to draw tokens from; {_AS_USER}")
    positions = getattr(text, "max_position_embeddings", None) or 0
    if 0 < positions < length:  # XLNet's -1: no limit
        raise ValueError(_too_long(spec, positions))
    if head == "sequence-classification" and config.get_text_config().pad_token_id is None:
        raise ValueError(
            f"options: {source!r} has no padding token, by which its classifier finds the last"
            " token; add pad_token_id, such as 0"
        )


def _image_needed(spec: Mapping[str, Any], config: PretrainedConfig) -> tuple[int, ...] | None:
    """Try the model on a sequence, without weights and arithmetic, and if need be with an image.

    Returns
    -------
    tuple of int or None
        The shape of the image that it needs beside a sequence; None where tokens are enough.

    Raises
    ------
    ValueError
        When it runs on neither: transformers tells that deep inside of a forward pass.
    """
    sketch = _sketch(spec, config)
    if sketch is None:
        return None
    source, length = spec["source"], spec["sequence_length"]
    positions = _positions_after_padding(sketch)
    if positions is not None and length > positions:
        raise ValueError(_too_long(spec, positions))
    tokens = torch.zeros(1, length, dtype=torch.long, device="meta")
    fault = _fault(TokensToTensor(sketch), tokens)
    image = _image_of(config)
    if fault is None or image is None:
        needed = None
    else:
        pixels = torch.zeros(1, *image, device="meta")
        needed = image if _fault(TokensAndPixelsToTensor(sketch), tokens, pixels) is None else None
    if fault is not None and needed is None:
        other = f"change its options, or {_AS_USER}" if spec["options"] else _AS_USER
        raise ValueError(f"source: {source!r} does not run on tokens alone ({fault}); {other}")
    return needed


def _sketch(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel | None:
    """Build the model on the device that has shapes but no memory; None where it cannot be."""
    try:
        with torch.device("meta"):
            return _auto_class(spec).from_config(config, dtype=torch.float32).eval()
    except Exception as error:  # a configuration may be wrong in any way
        if _of_meta(error):
            return None
        raise ValueError(
            f"options: {spec['source']!r} cannot be built with this configuration"
            f" ({_one_line(error)}); change it by options"
        ) from error


def _fault(module: nn.Module, *inputs: torch.Tensor) -> str | None:
    """Run a sketch; say why it does not, unless that is for lack of memory behind its tensors."""
    try:
        with torch.no_grad():
            output = module(*inputs)
    except Exception as error:  # noqa: BLE001 - a model may raise anything on what it does not expect
        return None if _of_meta(error) else _one_line(error)
    if isinstance(output, torch.Tensor):
        return None
    return f"its first output is of type {type(output).__name__}, not a tensor"


def _of_meta(error: Exception) -> bool:
    """Tell whether a sketch failed because it is one: values were asked for, or a kernel lacks."""
    return isinstance(error, NotImplementedError) or "meta" in str(error)


def _positions_after_padding(model: PreTrainedModel) -> int | None:
    """Count the positions of a model that numbers them from its padding token's id on.

    RoBERTa and its kind have 514 rows of position embeddings for 512 tokens: the first is at
    padding_idx + 1.
    """
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            padding = module.padding_idx
            return None if padding is None else module.num_embeddings - padding - 1
    return None


def _image_of(config: PretrainedConfig) -> tuple[int, ...] | None:
    """Return channels, height and width of the images a configuration tells of."""
    vision = getattr(config, "vision_config", None)
    size = getattr(vision, "image_size", None)
    if not isinstance(size, int):
        return None
    return getattr(vision, "num_channels", 3), size, size


def _too_long(spec: Mapping[str, Any], positions: int) -> str:
    return (
        f"sequence_length: {spec['sequence_length']} is more than the {positions} positions of"
        f" {spec['source']!r}"
    )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _random(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    return _auto_class(spec).from_config(config, dtype=torch.float32)


def _pretrained(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    source = spec["source"]
    try:
        model, loaded = _auto_class(spec).from_pretrained(
            saved_model(source) or source,
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


def _model_class(spec: Mapping[str, Any], config: PretrainedConfig) -> type:
    import transformers

    found = getattr(transformers, HEADS[spec["head"]][1])[type(config)]
    return found[0] if isinstance(found, tuple) else found


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
