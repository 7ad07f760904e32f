"""One optimiser step of any model: its batches, its loss, its optimiser, and how they join.

`docs/training.md` says what of it can be configured.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree
from torch.utils.checkpoint import checkpoint

from torchmodes.config.faults import meant
from torchmodes.config.training_step import CROSS_ENTROPY, LOSSES, MSE, NEXT_TOKEN, TrainingStep
from torchmodes.planning.user_code import load_function
from torchmodes.results.reasons import reason_of
from torchmodes.workloads.models.base import BuiltModel, in_mode, seeded
from torchmodes.workloads.modes.base import Step
from torchmodes.workloads.structures import Inputs, copy_output, tensors_of

BATCHES = 4
"""Batches that steps take in turn, so that none can be learnt by heart in a few."""
OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}
IMPLEMENTATIONS: Mapping[str, dict[str, bool]] = {
    "auto": {},
    "for-loop": {"foreach": False, "fused": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}


class Batch(NamedTuple):
    """What a step takes; where gradients accumulate, lists of inputs and of targets.

    Inputs of the model are a tensor, a tuple (positional) or a dictionary (keywords); targets what
    the loss compares the output with.
    """

    inputs: Any
    targets: Any


Loss = Callable[[Any, Batch], torch.Tensor]


def call_with(model: Callable[..., Any], inputs: Any) -> Any:
    """Call a model with the inputs of a batch."""
    if isinstance(inputs, torch.Tensor):
        return model(inputs)
    return model(**inputs) if isinstance(inputs, dict) else model(*inputs)


def mse(output: Any, batch: Batch) -> torch.Tensor:
    """Return the mean squared error; of several tensors, the sum of theirs."""
    if isinstance(output, torch.Tensor):
        return F.mse_loss(output, batch.targets)
    pairs = zip(_floating(output), batch.targets, strict=True)
    return torch.stack([F.mse_loss(found, target) for found, target in pairs]).sum()


def cross_entropy(output: Any, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy of the logits, the first tensor of the output, and the labels."""
    return F.cross_entropy(_classes_second(_first(output)), batch.targets)


def next_token(output: Any, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy of each token's logits and the token after it, of `targets`."""
    logits = _first(output)[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), batch.targets[:, 1:].flatten())


USUAL: Mapping[str, Loss] = {MSE: mse, CROSS_ENTROPY: cross_entropy, NEXT_TOKEN: next_token}


def load_loss(name: str) -> Loss:
    """Return a loss by its name, or the user's."""
    return USUAL[name] if name in LOSSES else load_function(name)


def _first(output: Any) -> torch.Tensor:
    while not isinstance(output, torch.Tensor):
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    return output


def _floating(output: Any) -> list[torch.Tensor]:
    return [tensor for tensor in tensors_of(output) if tensor.is_floating_point()]


def _classes_second(logits: torch.Tensor) -> torch.Tensor:
    """Put the classes of each token, shape (batch, tokens, classes), where PyTorch wants them."""
    return logits.transpose(1, 2) if logits.dim() == 3 else logits


def make_optimizer(
    module: nn.Module, *, learning_rate: float, described: TrainingStep | None = None
) -> torch.optim.Optimizer:
    """Return the optimiser of the module's parameters: Adam, unless described otherwise.

    Raises
    ------
    ValueError
        When it has no such option, or does not take its value.
    """
    told = described or TrainingStep()
    kind = OPTIMIZERS[told.optimizer]
    known = [*inspect.signature(kind).parameters][2:]
    for key in told.options:
        if key not in known:
            raise ValueError(f"train.options: {told.optimizer} has no {key!r}{meant(key, known)}")
    parameters = [one for one in module.parameters() if one.requires_grad]
    implementation = IMPLEMENTATIONS[told.implementation]
    try:
        return kind(parameters, lr=learning_rate, **implementation, **told.options)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(
            f"train.options: {told.optimizer} does not take {dict(told.options)}"
            f" ({reason_of(error)})"
        ) from error


def make_step(
    model: Callable[..., Any],
    optimizer: torch.optim.Optimizer,
    forward_context: AbstractContextManager[Any] | None = None,
    *,
    loss: Loss = mse,
    described: TrainingStep | None = None,
    scaler: torch.amp.GradScaler | None = None,
) -> Step:
    """Build one optimiser step of a module, or of what an engine made of it.

    The context (autocast) is entered around forward pass and loss; `described` says whether
    gradients accumulate and are clipped; the scaler of the loss is against underflow in fp16.
    """
    context = forward_context or nullcontext()
    told = described or TrainingStep()
    accumulate, clip_norm = told.accumulate, told.clip_norm
    parameters = [one for group in optimizer.param_groups for one in group["params"]]

    def step(inputs: Any, targets: Any) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        # Written out, for a whole step that is compiled breaks where gradients are computed.
        if accumulate == 1:
            with context:
                found = loss(call_with(model, inputs), Batch(inputs, targets))
            (found if scaler is None else scaler.scale(found)).backward()
            total = found.detach()
        else:
            parts = []
            for part, target in zip(inputs, targets, strict=True):
                with context:
                    found = loss(call_with(model, part), Batch(part, target)) / accumulate
                (found if scaler is None else scaler.scale(found)).backward()
                parts.append(found.detach())
            total = torch.stack(parts).sum()
        if clip_norm is not None:
            if scaler is not None:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(parameters, clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        return total

    return step


def make_batches(built: BuiltModel, told: TrainingStep, *, loss: str, seed: int) -> list[Batch]:
    """Draw batches like the model's example inputs, with targets that fit the loss, on the host.

    The seed is of the first part of a batch, of which the model's inputs are one; every other part
    has the next.

    Raises
    ------
    ValueError
        When no targets can be drawn for the loss, or the user's loss or targets are none.
    """
    draw = _targets(built, told, loss)
    parts = [
        Batch(given_as(inputs), draw(number, inputs))
        for number, inputs in _inputs(built, seed=seed, wanted=BATCHES * told.accumulate)
    ]
    if loss != NEXT_TOKEN or told.targets is not None:
        _try_loss(built, told, loss, parts[0].targets, seed=seed)
    if told.accumulate == 1:
        return parts
    together = [parts[i : i + told.accumulate] for i in range(0, len(parts), told.accumulate)]
    return [Batch([p.inputs for p in some], [p.targets for p in some]) for some in together]


def _try_loss(built: BuiltModel, told: TrainingStep, name: str, targets: Any, *, seed: int) -> None:
    """Call a loss once, on the example, for a fault of the user's to be told by its name.

    No step does that: what is in it would be compiled with it.
    """
    loss, module, was = load_loss(name), built.module, built.module.training
    inputs = built.inputs.map(torch.clone)
    device = inputs.tensors()[0].device
    targets = _pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), targets)
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with seeded(seed):
        output = inputs.call(in_mode(module, training=True))
        try:
            found = loss(output, Batch(given_as(inputs), targets))
        except Exception as error:
            remedy = f"; its targets are those of {told.targets}" if told.targets else ""
            if targets is None:
                remedy = "; batch.targets is None: set train.targets"
            raise ValueError(
                f"train.loss: {name} raised {reason_of(error).rstrip('.')}{remedy}"
            ) from error
    module.train(was)
    with torch.no_grad():
        for buffer, value in buffers:  # running statistics, which a forward pass changes
            buffer.copy_(value)
    if not isinstance(found, torch.Tensor):
        kind = "None" if found is None else f"a {type(found).__name__}"
        raise ValueError(f"train.loss: {name} returned {kind}: return a tensor with a gradient")
    if not found.requires_grad and name in LOSSES:
        raise ValueError(
            "the output of the model in training has no gradient: let its forward compute it"
            " without detach() or no_grad()"
        )
    if not found.requires_grad:
        raise ValueError(
            f"train.loss: {name} returned a tensor without a gradient: compute it from the output,"
            " without detach(), item() or no_grad()"
        )
    if found.numel() != 1:
        raise ValueError(
            f"train.loss: {name} returned the shape {tuple(found.shape)}: return a scalar, such as"
            " the mean"
        )
    if not bool(torch.isfinite(found)):
        raise ValueError(
            f"train.loss: {name} returned {found.item()} at the first step: no mode can be compared"
            " with that; look at what the model returns, and at the targets"
        )


def _inputs(built: BuiltModel, *, seed: int, wanted: int) -> Iterator[tuple[int, Inputs]]:
    """Yield a seed and inputs: the example, then others; the example again where shapes differ."""
    example = built.inputs.map(lambda tensor: tensor.detach().cpu())
    yield seed, example
    for number in range(seed + 1, seed + wanted):
        drawn = built.draw(number)
        yield number, drawn if example.is_like(drawn) else example


def given_as(inputs: Inputs) -> Any:
    """Return inputs as a tensor, a tuple or a dictionary.

    Raises
    ------
    ValueError
        When some are positional and some are not.
    """
    if inputs.args and inputs.kwargs:
        raise ValueError("a training step takes inputs by position or by name, not both")
    if inputs.kwargs:
        return inputs.kwargs
    match inputs.args:
        case [torch.Tensor() as alone]:
            return alone
    return inputs.args


def _targets(built: BuiltModel, told: TrainingStep, loss: str) -> Callable[[int, Inputs], Any]:
    """Return what makes targets from a seed and the inputs that they go with."""
    if told.targets is not None:
        function = load_function(told.targets)

        def made(seed: int, inputs: Inputs) -> Any:
            try:
                with seeded(seed):
                    targets = function(built.batch_size)
            except Exception as error:
                raise ValueError(
                    f"train.targets: {told.targets} raised {reason_of(error).rstrip('.')}"
                ) from error
            if targets is None and loss in LOSSES:
                raise ValueError(
                    f"train.targets: {told.targets} returned None; return what {loss} compares the"
                    " output with, or leave train.targets out"
                )
            return targets

        return made
    if loss not in LOSSES:
        return lambda seed, inputs: None
    if loss == NEXT_TOKEN:
        return lambda seed, inputs: _tokens(inputs)
    output = _output(built)
    return lambda seed, inputs: _drawn(loss, output, torch.Generator().manual_seed(seed))


def _tokens(inputs: Inputs) -> torch.Tensor:
    for tensor in inputs.tensors():
        if tensor.dim() == 2 and not tensor.is_floating_point():
            return tensor
    raise ValueError("train.loss: next-token needs token ids, shape (batch, tokens), as inputs")


def _output(built: BuiltModel) -> Any:
    """Run the model once in evaluation mode, to know what its output looks like."""
    module, was = built.module, built.module.training
    with torch.no_grad():
        output = copy_output(built.inputs.map(torch.clone).call(in_mode(module, training=False)))
    in_mode(module, training=was)
    return output


def _drawn(loss: str, output: Any, generator: torch.Generator) -> Any:
    found = _floating(output)
    if not found:
        raise ValueError(f"train.loss: {loss} needs an output of floating-point numbers")
    if loss == MSE:
        targets = [torch.randn(o.shape, generator=generator, dtype=o.dtype) for o in found]
        return targets[0] if isinstance(output, torch.Tensor) else targets
    logits = _classes_second(_first(output))
    if logits.dim() < 2 or logits.shape[1] < 2:
        raise ValueError(
            f"train.loss: cross-entropy needs logits of several classes, and the output has the"
            f" shape {tuple(logits.shape)}; use mse or a loss of yours"
        )
    shape = (logits.shape[0], *logits.shape[2:])
    return torch.randint(logits.shape[1], shape, generator=generator)


def keep_inputs_alone(module: nn.Module) -> int:
    """Let the repeated blocks of a model keep their inputs alone for the backward pass; count them.

    Blocks are what a list or a sequence of modules holds that have parts themselves: layers of a
    transformer, bottlenecks of a ResNet.
    """
    blocks: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for parent in module.modules():  # from the outside in
        if isinstance(parent, nn.ModuleList | nn.Sequential) and parent not in inside:
            found = [block for block in parent if any(True for _ in block.children())]
            blocks += found
            inside.update(part for block in found for part in block.modules())
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    return len(blocks)


def without_dropout(module: nn.Module) -> None:
    """Set every probability of dropping something to 0, in place."""
    for part in module.modules():
        kind = type(part).__name__.lower()
        for name, value in vars(part).items():
            named = "drop" in name or (name == "p" and ("drop" in kind or "depth" in kind))
            if named and isinstance(value, float) and not isinstance(value, bool):
                setattr(part, name, 0.0)
