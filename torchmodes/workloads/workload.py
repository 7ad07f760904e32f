"""Workloads: what a job runs again and again — a forward pass, an optimiser step, or a token.

Training, measuring and profiling all build their workload here, so that they run the same thing.
"""

from __future__ import annotations

import itertools
import os
import pkgutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils import _pytree

from torchmodes.config.models import cannot_generate, read_model
from torchmodes.config.modes import (
    ENGINES,
    ENGINES_THAT_GENERATE,
    ENGINES_THAT_TRAIN,
    ModeSection,
)
from torchmodes.config.training_step import CROSS_ENTROPY, MSE
from torchmodes.planning.cases import Case
from torchmodes.planning.job import Job
from torchmodes.processes.allocator import allocator_not_loaded
from torchmodes.processes.jobs import keep_headers_with_cache
from torchmodes.workloads.batches import largest
from torchmodes.workloads.models import build_model
from torchmodes.workloads.models.base import BuiltModel, in_mode, seed_all
from torchmodes.workloads.modes import create_engine
from torchmodes.workloads.modes.base import Engine, Refused, Unsupported
from torchmodes.workloads.modes.precision import (
    allow_tf32,
    autocast,
    cast,
    in_precision,
    loss_scaler,
    unsupported_precision,
)
from torchmodes.workloads.structures import Inputs, register_dataclasses, tensors_of
from torchmodes.workloads.training.dataset import load_tensors
from torchmodes.workloads.training.loop import batches
from torchmodes.workloads.training.step import (
    Batch,
    keep_inputs_alone,
    load_loss,
    make_batches,
    make_optimizer,
    make_step,
    without_dropout,
)

if TYPE_CHECKING:
    from torchmodes.workloads.generation import Decoding

Context = Callable[[], AbstractContextManager[Any]]
Target = Callable[..., dict[str, Any]]
"""What a job's process does: it takes the job and options, and returns parts of a result."""
PROMPT = "prompt"
"""The part of a generation that takes the prompt, where an engine of its own does."""


@dataclass(frozen=True)
class Workload:
    """A built model in a mode, ready to be called again and again, with what it cost to make.

    It runs inside a `context` (autograd's state, whether TF32 is allowed), which is entered outside
    of what is timed: some microseconds each time, where a small model takes fifty.

    Attributes
    ----------
    call
        One forward pass on the `inputs`, one optimiser step on the next batch, or one token.
    function
        What `call` calls: it takes the arguments of the model, or features and target of a batch.
    batches
        What calls of a forward pass take; other values can be copied into their tensors. There is
        one, or those of a schedule.
    take
        Lets the next calls take the batch of this number, counted on and on, and returns it.
    restart
        Puts parameters, buffers, optimiser and batches of a training step back to where they were.
        Of a generation, brings the cache to its position in the text that the `inputs` hold.
    decoding
        The text that is generated; None of other tasks.
    """

    call: Callable[[], Any]
    function: Callable[..., Any]
    context: Context
    engine: Engine
    built: BuiltModel
    build_s: float
    prepare_s: float
    batches: tuple[Inputs, ...] = (Inputs(),)
    take: Callable[[int], Inputs] = lambda number: Inputs()
    restart: Callable[[], None] = lambda: None
    decoding: Decoding | None = None

    @property
    def engines(self) -> tuple[Engine, ...]:
        """Every engine that has a part in it."""
        return (self.engine, *(self.decoding.engines if self.decoding else ()))

    def ship(self, folder: Path) -> list[Path]:
        """Write what a deployment takes with it into a folder; see `Engine.ship`."""
        files: list[Path] = []
        for engine, part in zip(self.engines, ("", PROMPT), strict=False):
            (folder / part).mkdir(parents=True, exist_ok=True)
            files += engine.ship(folder / part)
        return files

    @property
    def inputs(self) -> Inputs:
        """What calls take at first."""
        return self.batches[0]


def configure_process(job: Job) -> None:
    """Set threads, seeds, number formats and determinism of this process; it has no other job."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    allow_tf32(allowed=False)
    keep_headers_with_cache()
    if job.deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS is first used
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def unsupported(job: Job) -> Unsupported | None:
    """Say why a case cannot run here, before any work, or return None."""
    engine = _engine(job)
    return (
        _unsupported_task(job, engine.options)
        or _unsupported_device(job.case)
        or unsupported_precision(job.case, precisions=engine.precisions)
        or _unsupported_allocator(job)
        or engine.supports(job.case, family=job.model["family"])
    )


def run_target(sent: dict[str, Any]) -> dict[str, Any]:
    """Do what `torchmodes.processes.jobs.run_job` sent this process to do."""
    return carry_out(pkgutil.resolve_name(sent["target"]), Job.of(sent["job"]), **sent["options"])


def carry_out(target: Target, job: Job, **options: Any) -> dict[str, Any]:
    """Configure this process for a job and run a target, unless the case is ``unsupported``.

    An engine may refuse before any work, or the inputs, which are known once the model is built.
    """
    configure_process(job)
    refusal = unsupported(job)
    if refusal is None:
        try:
            return target(job, **options)
        except Refused as refused:
            refusal = refused.unsupported
    return {"status": "unsupported", **asdict(refusal)}


def inference_workload(job: Job) -> Workload:
    """Build one forward pass of the case's model on its example inputs, in evaluation mode.

    Raises
    ------
    Refused
        When the engine cannot take the inputs; see `carry_out`.
    """
    engine = _engine(job)
    start = time.perf_counter()
    built = _build(job)
    engine.draw = lambda number: built.draw(job.seed + number)
    taken = [tensor for batch in built.batches for tensor in batch.tensors()]
    drawn = [(t, t._version, t.detach().clone()) for t in taken if not t.is_inference()]
    built_at = time.perf_counter()
    batches: list[Inputs] = []
    precision = job.case.precision
    lowered = "fp32" if engine.lowers_precision else precision
    module = in_mode(built.module, training=False)
    for batch in built.batches:
        module, inputs = cast(module, batch, lowered)
        batches.append(inputs)
    engine.batches = tuple(batches)
    engine.refuse_inputs(batches[0])
    # Not in inference mode: what is made there can never again serve in another context.
    with torch.no_grad(), in_precision(precision):
        prepared = engine.load_or_prepare(module, largest(batches))
        # An engine may run the model while it prepares, and a model may write into its inputs.
        for tensor, version, value in drawn:
            if tensor._version != version:
                tensor.copy_(value)
    synchronize(job.case.device)
    prepare_s = time.perf_counter() - built_at
    args, kwargs = batches[0].args, batches[0].kwargs

    def call() -> Any:
        return prepared(*args, **kwargs)

    def take(number: int) -> Inputs:
        nonlocal args, kwargs
        batch = batches[number % len(batches)]
        args, kwargs = batch.args, batch.kwargs
        return batch

    return Workload(
        call=call,
        function=prepared,
        context=partial(_entered, engine.context, precision),
        engine=engine,
        built=built,
        build_s=built_at - start,
        prepare_s=prepare_s,
        batches=tuple(batches),
        take=take,
    )


def training_workload(
    job: Job,
    taken: Sequence[Batch | tuple[Any, Any]] | None = None,
    *,
    double: bool = False,
    dropout: bool = True,
) -> Workload:
    """Build one optimiser step of the case's model, which takes the batches in turn, without end.

    Parameters
    ----------
    job
        The case; it has a learning rate.
    taken
        Inputs and targets, on the device; the engine prepares the step with the first of them.
        None: drawn like the model's own inputs.
    double
        Whether to compute in fp64, for comparison.
    dropout
        Whether the model may drop anything; where not, engines whose random numbers differ can be
        compared.
    """
    if job.learning_rate is None:
        raise ValueError(f"{job.case}: a training case needs a learning rate")
    engine, told = _engine(job), job.train
    start = time.perf_counter()
    built = _build(job)
    built_at = time.perf_counter()
    if built.align is not None:
        raise Refused(
            "in training a detector asks for boxes beside its images, and returns losses",
            "bring it as a model of family user, which is given both and returns its losses",
        )
    _refuse_to_train(built.module, told.optimizer)
    of_output = CROSS_ENTROPY if built.logits else MSE
    loss = told.loss or read_model(job.model).usual_loss() or of_output
    module, device, drawn = in_mode(built.module, training=True), job.case.device, []
    if taken is None:
        drawn = make_batches(built, told, loss=loss, seed=job.seed)
        taken = [_moved(batch, lambda t: t.to(device, copy=True)) for batch in drawn]
    if double:
        module = module.double()
        taken = [_moved(b, lambda t: t.double() if t.is_floating_point() else t) for b in taken]
    if not dropout:
        without_dropout(module)
    tensors = dict(itertools.chain(module.named_parameters(), module.named_buffers()))
    as_built = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
    if told.checkpoint and not keep_inputs_alone(module):
        raise Refused(
            "the model has no list or sequence of blocks whose results could be computed again"
            " (train.checkpoint)",
            "call torch.utils.checkpoint in the model itself, with checkpoint: false",
        )
    optimizer = make_optimizer(module, learning_rate=job.learning_rate, described=told)
    join = partial(
        make_step,
        optimizer=optimizer,
        forward_context=autocast(job.case),
        loss=load_loss(loss),
        described=told,
        scaler=loss_scaler(job.case),
    )
    prepared_from = time.perf_counter()
    with in_precision(job.case.precision):
        step = engine.prepare_step(module, taken[0], join)
    prepare_s = time.perf_counter() - prepared_from
    endless = itertools.cycle(taken)

    def call() -> torch.Tensor:
        return step(*next(endless))

    @torch.no_grad()
    def restart() -> None:
        nonlocal endless
        endless = itertools.cycle(taken)
        seed_all(job.seed)
        # In place: engines hold these very tensors. Moments and counts of steps begin at zero.
        for name, tensor in tensors.items():
            tensor.copy_(as_built[name])
        for state in optimizer.state.values():
            for value in tensors_of(state):
                value.zero_()
        # A model may write into its inputs.
        for tensor, value in zip(tensors_of(taken), tensors_of(drawn), strict=bool(drawn)):
            tensor.copy_(value)

    restart()  # an engine may run the model while it prepares, which moves running statistics
    return Workload(
        call=call,
        function=step,
        context=partial(_entered, torch.enable_grad, job.case.precision),
        engine=engine,
        built=built,
        build_s=built_at - start,
        prepare_s=prepare_s,
        restart=restart,
    )


def _refuse_to_train(module: nn.Module, optimizer: str) -> None:
    """Refuse a model that an optimiser can do nothing with, before any step."""
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise Refused(
            "no parameter of the model requires a gradient: there is nothing to train",
            "let some require it, by requires_grad_() in the factory; or measure inference",
        )
    if any(parameter.is_inference() for parameter in module.parameters()):
        raise Refused(
            "the model was built in inference mode: its parameters can never have a gradient",
            "build it without torch.inference_mode(), or measure inference",
        )
    sparse = [name for name, part in module.named_modules() if getattr(part, "sparse", 0) is True]
    if sparse and optimizer != "sgd":
        raise Refused(
            f"the gradient of {sparse[0]} is sparse, which {optimizer} does not take",
            "set train.optimizer: sgd, or build the layer with sparse=False",
        )


def generation_workload(job: Job) -> Workload:
    """Build the step that decodes one token of a text, its cache at one position.

    Raises
    ------
    Refused
        When the engine or the model cannot do that; see `torchmodes.workloads.generation.decoding`.
    """
    from torchmodes.workloads.generation import decoding, own_decoding  # they need transformers

    engine = _engine(job)
    lengths = job.model["generation"]
    tokens = lengths["prompt_length"] + lengths["new_tokens"]
    start = time.perf_counter()
    built = _build(replace(job, model={**job.model, "sequence_length": tokens}))
    built_at = time.perf_counter()
    precision = job.case.precision
    module, inputs = cast(in_mode(built.module, training=False), built.inputs, precision)
    with torch.no_grad(), in_precision(precision):
        if job.model["family"] == "user":
            text = own_decoding(module, inputs, **lengths, engine=engine)
        else:
            text = decoding(
                module.get_submodule("model"),
                inputs.tensors()[0],
                **lengths,
                static=engine.options.has_static_cache(),
                engine=engine,
                another=lambda: _engine(job, part=PROMPT),
            )
    synchronize(job.case.device)
    context = partial(_entered, engine.context, precision)

    def restore() -> None:
        with context():
            text.restore()

    return Workload(
        call=text.decode,
        function=text.step,
        context=context,
        engine=engine,
        built=replace(built, item="token"),
        build_s=built_at - start,
        prepare_s=time.perf_counter() - built_at,
        batches=(inputs,),
        take=lambda number: inputs,
        restart=restore,
        decoding=text,
    )


def _moved(batch: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    register_dataclasses(batch)
    return _pytree.tree_map_only(torch.Tensor, function, batch)


@contextmanager
def _entered(own: Context, precision: str) -> Generator[None]:
    """Enter the context of an engine together with that of a precision."""
    with in_precision(precision), own():
        yield


def _engine(job: Job, part: str = "") -> Engine:
    """Create the engine of a case; a part of it has a folder of its own in what was shipped."""
    engine = create_engine(job.mode, operators=job.operators, precision=job.case.precision)
    engine.shipped = None if job.shipped is None else job.shipped / part
    return engine


def _build(job: Job) -> BuiltModel:
    parts = job.train.accumulate if job.case.task == "training" else 1
    return build_model(
        job.model,
        seed=job.seed,
        batch_size=job.case.batch_size // parts,
        device=job.case.device,
        features=job.features,
    )


def training_batches(job: Job) -> list[Batch]:
    """Return the full batches of one epoch of the training split, on the case's device."""
    table = load_tensors(*job.table, device=job.case.device)
    generator, size = torch.Generator().manual_seed(job.seed), job.case.batch_size
    epoch = batches(table.x_train, table.y_train, batch_size=size, generator=generator)
    return [Batch(x, y) for x, y in epoch]


def workload_of(job: Job, *, double: bool = False, dropout: bool = True) -> Workload:
    """Build the workload of a case of any task; the options are of `training_workload`."""
    match job.case.task:
        case "training":
            taken = training_batches(job) if job.table else None
            return training_workload(job, taken, double=double, dropout=dropout)
        case "generation":
            return generation_workload(job)
    return inference_workload(job)


def random_state(device: str) -> torch.Tensor:
    """Return the state of the generator that a device's operators draw from."""
    if device == "cuda":
        return torch.cuda.get_rng_state()
    return torch.mps.get_rng_state() if device == "mps" else torch.get_rng_state()


def synchronize(device: str) -> None:
    """Wait for the device, so that a time taken on the host is complete."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def _unsupported_allocator(job: Job) -> Unsupported | None:
    reason = allocator_not_loaded(job.measurement.allocator)
    remedy = "see what the dynamic linker says: LD_DEBUG=libs"
    return None if reason is None else Unsupported(reason, remedy)


def _unsupported_task(job: Job, options: ModeSection) -> Unsupported | None:
    task, engine = job.case.task, job.mode["engine"]
    if task == "generation":
        if engine not in ENGINES_THAT_GENERATE:
            return Unsupported(
                f"the engine {engine} does not generate text",
                f"generate in a mode whose engine is one of {', '.join(ENGINES_THAT_GENERATE)}",
            )
        fault = cannot_generate(job.model)
        return Unsupported(f"the model {fault}", "generate with another model") if fault else None
    cache = type(options).model_fields.get("cache")
    if cache is not None and job.mode.get("cache", cache.default) != cache.default:
        return Unsupported(
            f"cache: {job.mode['cache']} is for the task generation",
            "leave it out of the mode, or generate text",
        )
    return None if task == "inference" else _unsupported_training(job, engine)


def _unsupported_training(job: Job, engine: str) -> Unsupported | None:
    parts = job.train.accumulate
    if engine not in ENGINES_THAT_TRAIN:
        return Unsupported(
            f"the engine {engine} executes a forward pass, not a training step",
            f"train in a mode whose engine is one of {', '.join(ENGINES_THAT_TRAIN)}",
        )
    if job.case.batch_size % parts:
        return Unsupported(
            f"a batch of {job.case.batch_size} cannot be taken in {parts} parts (train.accumulate)",
            f"use a batch size that {parts} divides",
        )
    if job.train.checkpoint and not ENGINES[engine].recomputes:
        return Unsupported(
            f"the graph of the engine {engine} keeps every intermediate result: train.checkpoint"
            " would be lost in it",
            "train in eager or compile, or with checkpoint: false",
        )
    return None


def _unsupported_device(case: Case) -> Unsupported | None:
    if case.device == "cuda" and not torch.cuda.is_available():
        return Unsupported(
            "PyTorch sees no CUDA device",
            f"run on a machine with an NVIDIA GPU and a driver for CUDA {torch.version.cuda}",
        )
    if case.device == "mps" and not torch.backends.mps.is_available():
        return Unsupported(
            "PyTorch sees no MPS device", "run on a Mac with Apple silicon and macOS 14 or later"
        )
    return None
