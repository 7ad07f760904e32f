"""Models of transformers as functions of tensors: tokens, images or recordings → one tensor.

What is not a configuration name or a folder is read from the hub's cache.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from torchmodes.config.faults import meant
from torchmodes.config.models import saved_model
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.batches import BatchSchedule
from torchmodes.workloads.models.base import BuiltModel, whole_output
from torchmodes.workloads.models.hub import offline
from torchmodes.workloads.models.lengths import schedule_of_texts, without_padding
from torchmodes.workloads.models.sentences import Pooling, read_pooling
from torchmodes.workloads.structures import Inputs

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

EMBEDDING = "sentence-embedding"
HEADS = {
    "base": "AutoModel",
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "image-classification": "AutoModelForImageClassification",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "depth-estimation": "AutoModelForDepthEstimation",
    "video-classification": "AutoModelForVideoClassification",
    "audio-classification": "AutoModelForAudioClassification",
    "ctc": "AutoModelForCTC",
    "speech-seq2seq": "AutoModelForSpeechSeq2Seq",
    EMBEDDING: "AutoModel",
}
"""The class of transformers that builds each head."""
WITHOUT_LOGITS = ("base", EMBEDDING, "semantic-segmentation", "depth-estimation")
"""Heads whose output does not have logits, of classes or tokens, in its last dimension."""

READS = {
    "input_ids": "tokens",
    "pixel_values": "images",
    "input_values": "waveforms",
    "input_features": "spectrograms",
    "decoder_input_ids": "the decoder's tokens",
}
"""The arguments that random values are known for, and what they are."""

NOT_IN_THE_CONFIGURATION = {"attn_implementation", "num_labels"}
"""Options that transformers takes with a configuration without showing them in it."""

HUB_SILENT_S = 10.0
USUAL_SIZE = 224
"""Pixels of an image where a configuration does not tell."""
HOP = 160
"""Values of a waveform to a column of its spectrogram: 10 ms."""
_AS_USER = "bring it as a model of family user"


@dataclass(frozen=True)
class Argument:
    """An argument of `forward`, by name and shape of one item, of which random values can be drawn.

    Token ids are `below` a number; None: the values are standard-normal.
    """

    name: str
    shape: tuple[int, ...]
    below: int | None = None

    def draw(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """Draw a batch, of shape (batch, …)."""
        shape = batch_size, *self.shape
        if self.below is None:
            return torch.randn(shape, generator=generator)
        return torch.randint(self.below, shape, generator=generator)

    def sketch(self) -> torch.Tensor:
        """Return a batch of one without memory."""
        dtype = torch.float32 if self.below is None else torch.long
        return torch.zeros(1, *self.shape, dtype=dtype, device="meta")


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
    """A model of texts, or, with a pooling, of sentences."""

    def __init__(self, model: PreTrainedModel, pooling: Pooling | None = None) -> None:
        super().__init__(model)
        self.pooling = pooling

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Run a batch of sequences; return (batch, tokens, width), or (batch, classes).

        Of sentences it returns one vector each: (batch, width).

        Parameters
        ----------
        input_ids
            Token ids, shape (batch, tokens).
        attention_mask
            1 for a token and 0 for padding, same shape; None where there is no padding.
        position_ids
            Of each token in its text, same shape; None: as the model numbers them, from the left.
        """
        placed = {} if position_ids is None else {"position_ids": position_ids}
        output = self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=False, **placed
        )[0]
        return output if self.pooling is None else self.pooling.pool(output, attention_mask)


class NamedToTensor(FirstOutput):
    """A model of anything else: images, recordings, texts with images, an encoder and decoder."""

    def __init__(self, model: PreTrainedModel, names: Iterable[str]) -> None:
        super().__init__(model)
        self.names = tuple(names)

    def forward(self, first: torch.Tensor, second: torch.Tensor | None = None) -> torch.Tensor:
        """Run a batch of the arguments of these `names`, each of shape (batch, …).

        Returned is what the model returns first: of CLIP, how well each image fits each text.
        """
        given = dict(zip(self.names, (first, second), strict=False))
        return self.model(**given, return_dict=False)[0]


def build(
    spec: Mapping[str, Any], *, seed: int, batch_size: int, features: int | None = None
) -> BuiltModel:
    """Build a model in fp32, with random inputs: tokens, images or recordings, as it reads them.

    A model that needs an image beside each sequence gets random ones, a decoder random tokens.

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
        arguments = _arguments(spec, config)
        schedule = None
        if spec.get("lengths") is not None:
            schedule = _schedule(spec, config, arguments, seed=seed, batch_size=batch_size)
        torch.manual_seed(seed)
        model = (_pretrained if spec["weights"] == "pretrained" else _random)(spec, config)
        module = _module(spec, model, arguments)

    # All are tokens, none is padding: a mask would make some engines compute what others leave out.
    def draw(seed: int) -> Inputs:
        if schedule is not None:
            return schedule.batches[0]
        generator = torch.Generator().manual_seed(seed)
        return Inputs.of([one.draw(batch_size, generator) for one in arguments])

    return BuiltModel(
        module=module.eval(),
        inputs=draw(seed),
        item=_item(arguments),
        batch_size=batch_size,
        draw=draw,
        logits=spec["head"] not in WITHOUT_LOGITS,
        schedule=schedule,
        judged=whole_output if schedule is None else without_padding,
    )


def _module(
    spec: Mapping[str, Any], model: PreTrainedModel, arguments: tuple[Argument, ...]
) -> FirstOutput:
    if _encodes_alone(spec, model.config):
        model = model.get_encoder()
    names = [argument.name for argument in arguments]
    if names != ["input_ids"]:
        return NamedToTensor(model, names)
    pooling = read_pooling(spec["source"]) if spec["head"] == EMBEDDING else None
    return TokensToTensor(model, pooling)


def _item(arguments: tuple[Argument, ...]) -> str:
    """Name one item of a batch of these."""
    match [argument.name for argument in arguments]:
        case ["input_ids", "pixel_values"]:
            return "pair"
        case ["pixel_values", *_]:
            return "image" if len(arguments[0].shape) == 3 else "video"
        case ["input_values" | "input_features", *_]:
            return "recording"
        case _:
            return "sequence"


def _encodes_alone(spec: Mapping[str, Any], config: PretrainedConfig) -> bool:
    return config.is_encoder_decoder and spec["part"] == "encoder"


def _schedule(
    spec: Mapping[str, Any],
    config: PretrainedConfig,
    arguments: tuple[Argument, ...],
    *,
    seed: int,
    batch_size: int,
) -> BatchSchedule:
    """Make batches of texts of different lengths, where the model reads such."""
    if [argument.name for argument in arguments] != ["input_ids"]:
        raise ValueError(
            f"lengths: {spec['source']!r} reads more than texts; {_AS_USER}, with a schedule"
        )
    if spec["lengths"]["side"] == "left" and not _takes("position_ids", spec, config):
        raise ValueError(
            f"lengths.side: {spec['source']!r} takes no position_ids, so that padding on the left"
            " would move its texts; use side: right"
        )
    text = config.get_text_config()
    return schedule_of_texts(
        spec,
        seed=seed,
        batch_size=batch_size,
        vocabulary=text.vocab_size,
        padding_id=getattr(text, "pad_token_id", None),
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
    config = _read_configuration(spec, **options) if options else plain
    config.architectures = config.architectures or []  # with None, DeiT and its kind are not built
    return config


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
            f"options: the configuration of {source!r} is not valid ({reason_of(error)})"
        ) from error


def _check_fits(spec: Mapping[str, Any], config: PretrainedConfig) -> None:
    """Refuse a head or a part that there is not."""
    source, head = spec["source"], spec["head"]
    heads = [name for name in HEADS if _has_head(name, config)]
    if head not in heads:
        there = ", ".join(heads) or f"none of those known here; {_AS_USER}"
        raise ValueError(f"head: {source!r} has no {head!r}; it has {there}")
    if spec["part"] == "encoder" and not config.is_encoder_decoder:
        raise ValueError(f"part: {source!r} is no encoder with a decoder; leave `part` out")
    if _encodes_alone(spec, config) and head != "base":
        raise ValueError(
            f"head: an encoder alone has no {head!r}; leave `head` out, or use part: step"
        )
    if head == "sequence-classification":
        if config.is_encoder_decoder:
            raise ValueError(
                f"head: that of {source!r} looks for the end-of-sequence token, which random tokens"
                " do not have; choose base or seq2seq-lm"
            )
        if config.get_text_config().pad_token_id is None:
            raise ValueError(
                f"options: {source!r} has no padding token, by which its classifier finds the last"
                " token; add pad_token_id, such as 0"
            )


def _has_head(head: str, config: PretrainedConfig) -> bool:
    if type(config) not in _auto_class(head)._model_mapping:
        return False
    if head != EMBEDDING:
        return True
    return _reads(head, config) == "input_ids" and not config.is_encoder_decoder


def _arguments(spec: Mapping[str, Any], config: PretrainedConfig) -> tuple[Argument, ...]:
    """Return what the model reads: tried on a sketch of it, which takes neither time nor memory.

    Raises
    ------
    ValueError
        When it runs on nothing known: transformers tells that deep inside of a forward pass.
    """
    source, reads = spec["source"], _reads(spec["head"], config)
    if reads not in READS:
        raise ValueError(f"source: {source!r} reads {reads}; {_AS_USER}")
    first = _argument(reads, spec, config)
    tries = [(first,)]
    both = config.is_encoder_decoder and not _encodes_alone(spec, config)
    if both and _takes("decoder_input_ids", spec, config):
        tries = [(first, _tokens("decoder_input_ids", spec, config))]
    elif reads == "input_ids" and getattr(config, "vision_config", None) is not None:
        tries.append((first, _argument("pixel_values", spec, config)))
    sketch = _sketch(spec, config)
    if sketch is None:
        return tries[0]
    positions = _positions_after_padding(sketch)
    if reads == "input_ids" and positions is not None and spec["sequence_length"] > positions:
        raise ValueError(_too_long(spec, positions))
    faults = {arguments: _fault(spec, sketch, arguments) for arguments in tries}
    for arguments, fault in faults.items():
        if fault is None:
            return arguments
    words = " and ".join(READS[argument.name] for argument in tries[0])
    other = f"change its options, or {_AS_USER}" if spec["options"] else _AS_USER
    raise ValueError(
        f"source: {source!r} does not run on {words} alone ({faults[tries[0]]}); {other}"
    )


def _reads(head: str, config: PretrainedConfig) -> str:
    return getattr(_model_class(head, config), "main_input_name", "input_ids")


def _takes(name: str, spec: Mapping[str, Any], config: PretrainedConfig) -> bool:
    return name in inspect.signature(_model_class(spec["head"], config).forward).parameters


def _argument(name: str, spec: Mapping[str, Any], config: PretrainedConfig) -> Argument:
    """Return an argument with the shape that the configuration tells."""
    if name == "input_ids":
        return _tokens(name, spec, config)
    if name == "pixel_values":
        return Argument(name, _image_shape(config))
    return Argument(name, _sound_shape(name, spec, config))


def _tokens(name: str, spec: Mapping[str, Any], config: PretrainedConfig) -> Argument:
    source, length, text = spec["source"], spec["sequence_length"], config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    if not isinstance(vocabulary, int):
        raise ValueError(f"source: {source!r} has no vocabulary to draw tokens from; {_AS_USER}")
    for key in ("max_position_embeddings", "max_target_positions"):
        positions = getattr(text, key, None) or 0
        if 0 < positions < length:  # XLNet's -1: no limit
            raise ValueError(_too_long(spec, positions))
    return Argument(name, (length,), below=vocabulary)


def _image_shape(config: PretrainedConfig) -> tuple[int, ...]:
    """Return channels, height and width; of videos (frames, channels, height, width)."""
    vision = getattr(config, "vision_config", None) or config
    size = getattr(vision, "image_size", None) or USUAL_SIZE
    height, width = (size, size) if isinstance(size, int) else size
    image = getattr(vision, "num_channels", 3), height, width
    frames = getattr(vision, "num_frames", None)
    return image if frames is None else (frames, *image)


def _sound_shape(name: str, spec: Mapping[str, Any], config: PretrainedConfig) -> tuple[int, ...]:
    """Return the values of a waveform, or the two dimensions of a spectrogram as it is read."""
    columns = max(1, spec["samples"] // HOP)
    bands = getattr(config, "num_mel_bins", None)
    if name == "input_values":  # the Audio Spectrogram Transformer's are columns of a spectrogram
        whole = getattr(config, "max_length", None)
        return (whole, bands) if bands and whole else (spec["samples"],)
    if bands and (positions := getattr(config, "max_source_positions", None)):
        return bands, 2 * positions  # Whisper reads all of it, always; its convolution halves it
    for key in ("input_feat_per_channel", "feature_projection_input_dim"):
        if width := getattr(config, key, None):
            return columns, width
    raise ValueError(
        f"source: the configuration of {spec['source']!r} does not tell how many values its"
        f" spectrograms have; {_AS_USER}"
    )


def _sketch(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel | None:
    """Build the model on the device that has shapes but no memory; None where it cannot be."""
    try:
        with torch.device("meta"):
            return _random(spec, config).eval()
    except Exception as error:  # a configuration may be wrong in any way
        if _of_meta(error):
            return None
        raise ValueError(
            f"options: {spec['source']!r} cannot be built with this configuration"
            f" ({reason_of(error)}); change it by options"
        ) from error


def _fault(
    spec: Mapping[str, Any], sketch: PreTrainedModel, arguments: tuple[Argument, ...]
) -> str | None:
    """Run a sketch; say why it does not, unless that is for lack of memory behind its tensors."""
    module = _module(spec, sketch, arguments)
    try:
        with torch.no_grad():
            output = module(*(argument.sketch() for argument in arguments))
    except Exception as error:  # noqa: BLE001 - a model may raise anything on what it does not expect
        return None if _of_meta(error) else reason_of(error)
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


def _too_long(spec: Mapping[str, Any], positions: int) -> str:
    return (
        f"sequence_length: {spec['sequence_length']} is more than the {positions} positions of"
        f" {spec['source']!r}; generating text, it is prompt_length + new_tokens"
    )


def _random(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    return _auto_class(spec["head"]).from_config(config, dtype=torch.float32)


def _pretrained(spec: Mapping[str, Any], config: PretrainedConfig) -> PreTrainedModel:
    source = spec["source"]
    try:
        model, loaded = _auto_class(spec["head"]).from_pretrained(
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


def _auto_class(head: str) -> Any:
    import transformers

    return getattr(transformers, HEADS[head])


def _model_class(head: str, config: PretrainedConfig) -> Any:
    found = _auto_class(head)._model_mapping[type(config)]
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
    pooling = [f for f in files if f == "modules.json" or re.fullmatch(r"\d+_\w+/config\.json", f)]
    if not weights:
        return ["config.json", *pooling]
    top = [file for file in files if "/" not in file]
    texts = [file for file in top if file.endswith((".json", ".txt", ".model"))]
    tensors = [f for f in top if f.startswith("model") and f.endswith(".safetensors")]
    pickles = [f for f in top if f.startswith("pytorch_model") and f.endswith(".bin")]
    return list(dict.fromkeys([*texts, *pooling])) + (tensors or pickles)
