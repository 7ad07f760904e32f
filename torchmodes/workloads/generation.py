"""Text generation: where a language model, what it keeps of a text so far, and a mode meet.

A *step* takes token ids and the cache, and returns the logits of the last token. The prompt is one
step (prefill), each further token another (decode). To an engine a step is a module like any other,
with tensors in and out, so that every engine which takes such a module can generate. A model of the
user's brings both steps and a state of its own in place of the cache.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import Cache, DynamicLayer, StaticLayer

from torchmodes.workloads.modes.base import Engine, Refused
from torchmodes.workloads.structures import Inputs

Tensors = Sequence[torch.Tensor]


class Grown(DynamicLayer):
    """A layer's keys and values so far, to which a step appends its own in new memory.

    Their shape is (batch, heads, positions so far, width).
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True


class Slots(StaticLayer):
    """A layer's keys and values at every position there can be, of which later ones are masked.

    Parameters
    ----------
    keys, values
        Shape (batch, heads, all positions, width).
    position
        Of the step's first token, a tensor without dimensions: a number would be compiled in.
    in_place
        Whether the step writes into these very tensors. Exporters want new ones.
    """

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, position: torch.Tensor, *, in_place: bool
    ) -> None:
        # Not the base class's, which allocates memory at the first update.
        self.keys, self.values, self.cumulative_length = keys, values, position
        self.dtype, self.device = keys.dtype, keys.device
        self.max_cache_len = keys.shape[2]
        self.is_initialized, self._in_place = True, in_place

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put a step's keys and values where they belong, and return those of all positions."""
        at = torch.arange(key_states.shape[-2], device=self.device) + self.cumulative_length
        keys, values = self.keys, self.values
        assert keys is not None
        assert values is not None
        if self._in_place:
            keys.index_copy_(2, at, key_states)
            values.index_copy_(2, at, value_states)
        else:
            keys = self.keys = keys.index_copy(2, at, key_states)
            values = self.values = values.index_copy(2, at, value_states)
        return keys, values


class TokenStep(nn.Module):
    """One step of a causal language model of transformers, as a function of tensors.

    Parameters
    ----------
    model
        A ``PreTrainedModel`` with a head for the next token.
    static
        Whether the cache has all positions from the beginning, or grows.
    in_place
        Of a static cache; see `Slots`.
    """

    def __init__(self, model: nn.Module, *, static: bool, in_place: bool) -> None:
        super().__init__()
        self.model, self.static, self.in_place = model, static, in_place

    def forward(
        self, ids: torch.Tensor, position: torch.Tensor, *cache: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run the tokens that follow those in the cache.

        Returned are the logits of the last token, shape (batch, vocabulary), and the new cache,
        unless it was changed in place.

        Parameters
        ----------
        ids
            Shape (batch, tokens).
        position
            Of the first of them; no dimensions.
        cache
            Keys and values of each layer, in turn.
        """
        pairs = zip(cache[::2], cache[1::2], strict=True)
        if self.static:
            held = Cache([Slots(k, v, position, in_place=self.in_place) for k, v in pairs])
        else:
            held = Cache([Grown(k, v) for k, v in pairs])
        logits = self.model(
            input_ids=ids,
            past_key_values=held,
            use_cache=True,
            logits_to_keep=1,  # of a prompt, too, the last token's alone are of use
            return_dict=False,
        )[0][:, -1]
        if self.static and self.in_place:
            return (logits,)
        return (logits, *keys_and_values(held))


class OwnStep(nn.Module):
    """One step of a model of the user's, as a function of tensors.

    Parameters
    ----------
    model
        A module with two methods, both of which return logits of the next token, shape (batch,
        vocabulary), and a new state, of tensors in tuples, lists or dicts: ``prefill(tokens)``
        reads a prompt, shape (batch, tokens), and ``decode(token, state)`` a token, (batch, 1).
    text
        Token ids, on which both are tried.
    prompt_length
        Of the text.

    Raises
    ------
    ValueError
        When it does not keep to that, or writes into the state that it is given.
    """

    def __init__(self, model: Any, text: torch.Tensor, *, prompt_length: int) -> None:
        super().__init__()
        self.model = model
        for name in ("prefill", "decode"):
            if not callable(getattr(model, name, None)):
                raise ValueError(
                    f"{type(model).__name__} has no method {name!r}: to generate text the factory's"
                    " module needs prefill(tokens) and decode(token, state), both of which return"
                    " (logits, state)"
                )
        first = model.prefill(_plain(text[:, :prompt_length]))
        self.first, self._spec = _flat(first, "prefill(tokens)", len(text))
        versions = [tensor._version for tensor in self.first]
        token = _plain(text[:, prompt_length : prompt_length + 1])
        _, again = _flat(model.decode(token, first[1]), "decode(token, state)", len(text))
        if again != self._spec:
            raise ValueError("decode(token, state) returned a state of other parts than prefill's")
        if versions != [tensor._version for tensor in self.first]:
            raise ValueError(
                "decode(token, state) writes into the state that it is given; a step is timed again"
                " and again, so let it return a new one"
            )

    def forward(
        self, ids: torch.Tensor, position: torch.Tensor, *state: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run a prompt, without a state, or a token; return logits and the new state."""
        if state:
            logits, new = self.model.decode(ids, _pytree.tree_unflatten(list(state), self._spec))
        else:
            logits, new = self.model.prefill(ids)
        return (logits, *_pytree.tree_leaves(new))


def _flat(returned: Any, told: str, batch: int) -> tuple[list[torch.Tensor], _pytree.TreeSpec]:
    """Return the tensors of a state beside logits, and its structure, if it is one."""
    pair = isinstance(returned, (tuple, list)) and len(returned) == 2
    logits, state = returned if pair else (None, None)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != batch:
        raise ValueError(
            f"{told} must return (logits, state), the logits of shape ({batch}, vocabulary)"
        )
    if logits.shape[-1] < 2:
        raise ValueError(f"{told} returned logits of one token: there is nothing to choose from")
    leaves, spec = _pytree.tree_flatten(state)
    if not leaves or not all(isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise ValueError(f"the state of {told} must be of tensors alone, in tuples, lists or dicts")
    return leaves, spec


@dataclass
class Decoding:
    """A text in the hands of a mode: its prompt, its cache, and the steps that follow.

    Attributes
    ----------
    prefill, step
        Called in place of a `TokenStep` with a prompt's shape and with a token's.
    text
        Token ids, shape (batch, prompt + new tokens); other values can be copied into it.
    prompt_length, new_tokens
        The prompt's step gives the first of the new tokens, so that there is one step fewer.
    empty
        The cache before the first step.
    engines
        What prepared `prefill`, where `step`'s engine did not.
    token_s
        Seconds from each token of a `greedy` run to the next; the first is not in it.
    weight_bytes
        That a step reads.
    position
        Where the step is that `decode` takes: at first in the middle of all that a generation
        takes. A step's time grows about linearly with its position, so that this one's is the mean.
    places
        Positions at which what a step takes is kept of each text, for `again`.
    reference
        The library's own way to generate from such a text, which knows no modes; None: there is
        none, or it is no eager one.
    compiled_at
        Positions at which a step that is not timed had something compiled by TorchDynamo.
    """

    prefill: Callable[..., Tensors]
    step: Callable[..., Tensors]
    text: torch.Tensor
    prompt_length: int
    new_tokens: int
    empty: Tensors
    engines: tuple[Engine, ...] = ()
    token_s: list[float] = field(default_factory=list)
    weight_bytes: int = 0
    reference: Callable[[torch.Tensor], torch.Tensor] | None = None
    compiled_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        length, device = self.text.shape[1], self.text.device
        self.position = self.prompt_length + (self.new_tokens - 1) // 2
        self.places: tuple[int, ...] = (self.position,)
        self._positions = [torch.tensor(at, device=device) for at in range(length)]
        self._walked: torch.Tensor | None = None
        self._kept: dict[int, tuple[torch.Tensor, Tensors]] = {}

    @property
    def cache_bytes(self) -> int:
        """Bytes of the cache at `position`, of the whole batch."""
        return sum(map(_bytes, self._kept[self.position][1]))

    @property
    def ends(self) -> tuple[int, int]:
        """Positions of the first step and of the last."""
        return self._fed_back()[0], self._fed_back()[-1]

    def restore(self) -> None:
        """Work through the text up to the last of `places`, unless that is done."""
        known = self._walked is not None and torch.equal(self._walked, self.text)
        if not known or self.position not in self._kept:
            furthest = max(self.position, *self.places)
            steps = islice(self._steps(self.text), furthest - self.prompt_length + 1)
            _, cache = deque(steps, maxlen=1).pop()
            self._keep(furthest, _plain(self.text[:, furthest : furthest + 1]), cache)
            self._walked = self.text.clone()

    def decode(self) -> torch.Tensor:
        """Take the step at `position`, again and again: it reads and writes the same memory.

        Returns logits, shape (batch, vocabulary).
        """
        if self._walked is None:
            self.restore()
            token, cache = self._kept[self.position]
            return self._decode(token, self.position, cache)[0]
        return self.again(self.position)

    def again(self, at: int) -> torch.Tensor:
        """Take the step at one of `places` that the last text passed.

        What a static cache holds beyond the position is masked, as if it were not there yet.
        """
        token, cache = self._kept[at]
        return self.step(token, self._positions[at], *cache)[0]

    def prompt(self) -> torch.Tensor:
        """Run the prompt, and return the logits that the first new token is chosen by."""
        ids = _plain(self.text[:, : self.prompt_length])
        return self.prefill(ids, self._positions[0], *self.empty)[0]

    def walk(self, text: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield the logits after the prompt of a text, and after each further token of it.

        A token is read when the logits after it are asked for, so that it may be chosen meanwhile.
        """
        self._walked = None
        return (logits for logits, _ in self._steps(text))

    def greedy(self, text: torch.Tensor) -> torch.Tensor:
        """Generate from the prompt of a text: each time the most likely token.

        Each token is brought to the host before the next step, as for a reader who sees it come.
        Returned are their ids, shape (batch, new tokens), on the host.
        """
        self._walked, found, stamps = None, [], []
        logits, cache = self._begin(text)
        for at in self._fed_back():
            token = logits.argmax(-1, keepdim=True)
            found.append(token.cpu())
            stamps.append(time.perf_counter())
            self._keep(at, token, cache)
            logits, cache = self._run(self.step, token, at, cache)
        found.append(logits.argmax(-1, keepdim=True).cpu())
        stamps.append(time.perf_counter())
        self.token_s += [later - earlier for earlier, later in pairwise(stamps)]
        return torch.cat(found, dim=1)

    def _fed_back(self) -> range:
        """Return the positions of the tokens that are fed back."""
        return range(self.prompt_length, self.prompt_length + self.new_tokens - 1)

    def _steps(self, text: torch.Tensor) -> Iterator[tuple[torch.Tensor, Tensors]]:
        """Yield logits and cache after the prompt, and after each further token but the last."""
        logits, cache = self._begin(text)
        yield logits, cache
        for at in self._fed_back():
            token = _plain(text[:, at : at + 1])
            self._keep(at, token, cache)
            logits, cache = self._decode(token, at, cache)
            yield logits, cache

    def _begin(self, text: torch.Tensor) -> tuple[torch.Tensor, Tensors]:
        """Forget what was kept of an earlier text, and take the prompt's step."""
        self._kept.clear()
        return self._run(self.prefill, _plain(text[:, : self.prompt_length]), 0, self.empty)

    def _keep(self, at: int, token: torch.Tensor, cache: Tensors) -> None:
        """Keep what the step at a position takes, if it is one of `places` or `position`."""
        if at == self.position or at in self.places:
            self._kept[at] = token, cache

    def _decode(self, token: torch.Tensor, at: int, cache: Tensors) -> tuple[torch.Tensor, Tensors]:
        """Take a step that is not timed, and note whether it had something compiled."""
        before = compilations()
        logits, cache = self._run(self.step, token, at, cache)
        if compilations() > before:
            self.compiled_at.append(at)
        return logits, cache

    def _run(
        self, step: Callable[..., Tensors], ids: torch.Tensor, at: int, cache: Tensors
    ) -> tuple[torch.Tensor, Tensors]:
        logits, *new = step(ids, self._positions[at], *cache)
        return logits, new or cache


def decoding(
    model: Any,
    text: torch.Tensor,
    *,
    prompt_length: int,
    new_tokens: int,
    static: bool,
    engine: Engine,
    another: Callable[[], Engine],
) -> Decoding:
    """Prepare a model's steps in a mode.

    Parameters
    ----------
    model
        Of transformers, in the precision and on the device of the case.
    text
        Token ids, shape (batch, `prompt_length` + `new_tokens`).
    static
        Whether the cache has all positions from the beginning.
    engine, another
        Of the mode; another one prepares the prompt's step, where one cannot serve two shapes.

    Raises
    ------
    Refused
        When the model keeps anything but keys and values of all positions, or the engine does not
        take a cache that grows.
    """
    if engine.one_shape and not static:
        raise Refused(
            f"the engine {engine.options.engine} takes inputs of one shape, and a dynamic cache"
            " grows at every token",
            "use cache: static",
        )
    length = text.shape[1]
    empty = empty_cache(model, text, positions=length if static else 0)
    step = TokenStep(model, static=static, in_place=not engine.one_shape)
    if static and text.device.type == "cuda":
        for tensor in empty:  # else no CUDA graph is made of what writes into them
            torch._dynamo.mark_static_address(tensor)
    example = empty if static else empty_cache(model, text, positions=prompt_length)
    position = torch.tensor(prompt_length, device=text.device)
    one = Inputs((_plain(text[:, :1]), position, *example))
    engine.refuse_inputs(one)
    # A folder's may ask for beams, penalties or another cache, and `generate` would heed it.
    model.generation_config = GenerationConfig()

    def generate(text: torch.Tensor) -> torch.Tensor:
        prompt = _plain(text[:, :prompt_length])
        return model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),  # or tokens like the one below would be masked
            max_new_tokens=new_tokens,
            do_sample=False,
            use_cache=True,
            eos_token_id=None,
            pad_token_id=0,  # there is no padding; without one it would be warned of
        )[:, prompt_length:]

    prepared = engine.load_or_prepare(step.eval(), one)
    prefill, engines = prepared, ()
    if engine.one_shape:
        engines = (another(),)
        whole = Inputs((_plain(text[:, :prompt_length]), torch.zeros_like(position), *empty))
        prefill = engines[0].load_or_prepare(step, whole)
    if not static:  # as what steps return, or it would be compiled for both kinds of tensors
        with engine.context():
            empty = [tensor.clone() for tensor in empty]
    return Decoding(
        prefill,
        prepared,
        text,
        prompt_length,
        new_tokens,
        empty,
        engines,
        weight_bytes=bytes_read(model),
        reference=None if static or engine.options.engine != "eager" else generate,
    )


def own_decoding(
    model: Any, inputs: Inputs, *, prompt_length: int, new_tokens: int, engine: Engine
) -> Decoding:
    """Prepare the steps of a model of the user's, which keeps a state of its own.

    Parameters
    ----------
    model
        As `OwnStep` takes it, in the precision and on the device of the case.
    inputs
        One tensor of token ids, shape (batch, `prompt_length` + `new_tokens` or more).

    Raises
    ------
    Refused
        When the engine takes modules of one shape, or a static cache is asked for.
    ValueError
        When the inputs or the model are not like that.
    """
    if engine.one_shape:
        raise Refused(
            f"the engine {engine.options.engine} takes inputs of one kind, and a state of the"
            " model's own is not there at the prompt",
            "use eager, quantize, or compile without `after`, which call a module as it is",
        )
    if engine.options.engine != "compile" and engine.options.has_static_cache():
        raise Refused(
            "cache: static is for models of transformers: this one keeps a state of its own",
            "leave `cache` out of the mode",
        )
    tokens, taken = prompt_length + new_tokens, inputs.tensors()
    if len(taken) != 1 or taken[0].dtype != torch.int64 or taken[0].ndim != 2:
        raise ValueError("inputs: to generate text, return one tensor of token ids (torch.long)")
    text = taken[0][:, :tokens]
    if text.shape[1] < tokens:
        raise ValueError(
            f"inputs: returned {text.shape[1]} tokens of each text, and generation takes"
            f" {tokens}: {prompt_length} of the prompt and {new_tokens} that stand for new ones"
        )
    step = OwnStep(model, text, prompt_length=prompt_length)
    position = torch.tensor(prompt_length, device=text.device)
    one = Inputs((_plain(text[:, :1]), position, *step.first))
    prepared = engine.prepare(step.eval(), one)
    return Decoding(
        prepared, prepared, text, prompt_length, new_tokens, (), weight_bytes=bytes_read(model)
    )


def empty_cache(model: Any, text: torch.Tensor, *, positions: int) -> list[torch.Tensor]:
    """Return keys and values of every layer, in turn, all zero.

    What a layer keeps is seen by running one token: heads and widths stand in no one place of a
    configuration.

    Raises
    ------
    Refused
        When a layer keeps something else, such as a window or a recurrent state, or none does.
    """
    held = DynamicCache(config=model.config)
    model(input_ids=text[:1, :1], past_key_values=held, use_cache=True)
    if others := sorted({type(layer).__name__ for layer in held.layers} - {"DynamicLayer"}):
        remedy = "use a model whose layers all have full attention"
        if getattr(model.config, "sliding_window", None) is not None:
            remedy += "; to a text within the window all is: options: { sliding_window: null }"
        raise Refused(
            f"{type(model).__name__} keeps more than keys and values of all positions:"
            f" {', '.join(others)}",
            remedy,
        )
    if not held.layers or any(tensor is None for tensor in keys_and_values(held)):
        raise Refused(
            f"{type(model).__name__} keeps no keys and values of the tokens before",
            "use a causal language model with a cache",
        )
    batch = text.shape[0]
    return [
        torch.zeros(
            batch, kept.shape[1], positions, kept.shape[3], dtype=kept.dtype, device=kept.device
        )
        for kept in keys_and_values(held)
    ]


def bytes_read(model: nn.Module) -> int:
    """Count the bytes of the weights that a step reads: of an embedding it looks up a row alone."""
    used = {
        id(weight)
        for module in model.modules()
        if not isinstance(module, nn.Embedding)
        for weight in module.parameters(recurse=False)
    }
    return sum(_bytes(weight) for weight in model.parameters() if id(weight) in used)


def keys_and_values(held: Any) -> list[torch.Tensor]:
    """Return the tensors of a cache of transformers: keys and values of each layer, in turn."""
    return [tensor for layer in held.layers for tensor in (layer.keys, layer.values)]


def compilations() -> int:
    """Count what TorchDynamo has compiled in this process so far; eager does not import it."""
    counted = sys.modules.get("torch._dynamo.convert_frame")
    return sum(counted.FRAME_COMPILE_COUNTER.values()) if counted else 0


def _bytes(tensor: Any) -> int:
    """Count the bytes of a tensor; one of low precision may be made of several."""
    if hasattr(tensor, "__tensor_flatten__"):
        return sum(_bytes(getattr(tensor, name)) for name in tensor.__tensor_flatten__()[0])
    return tensor.numel() * tensor.element_size()


def _plain(ids: torch.Tensor) -> torch.Tensor:
    """Copy ids, so that their strides are those of a token just chosen: guards look at them."""
    return ids.clone(memory_format=torch.contiguous_format)
