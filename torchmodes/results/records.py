"""Records: the JSON of a case. Its types, and reading and writing them.

Raw samples are stored with the statistics derived from them. A value that does not exist is null,
never NaN or Infinity. Times are in seconds, sizes in bytes, ratios plain numbers (1.02 is 2 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from torchmodes.config.base import Device, Precision, Task
from torchmodes.planning.cases import Case, case_at
from torchmodes.results.reading import AGAIN, CorruptFile, Unreadable, first_fault, read_bytes
from torchmodes.results.reasons import printable
from torchmodes.results.writing import with_texts, write_atomically

SCHEMA_VERSION = 1
WIDEST_HALF_WIDTH = 2.0
"""The factor between the middle and the ends of an interval of a ratio that still says something.
"""
_BLOCKS_KEY = "quads"
"""What blocks are called in a record's JSON since its first version."""
Status = Literal["ok", "unsupported", "failed", "wrong"]
Verdict = Literal["faster", "slower", "same", "unresolved"]
QualityVerdict = Literal["no worse", "worse", "unresolved"]
Label = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
"""A name of a model or a mode, as it stands in a path."""


def _fits_a_table(count: int) -> int:
    if count >= 2**63:
        raise ValueError("should be less than 2⁶³")
    return count


CallSeconds = Annotated[float, Field(ge=1e-15, le=1e9)]
"""Of one call: what a clock can show, so that every ratio of two is a number."""
CallsSeconds = tuple[CallSeconds, ...]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0), AfterValidator(_fits_a_table)]
Several = Annotated[int, Field(ge=1), AfterValidator(_fits_a_table)]


Text = Annotated[str, AfterValidator(printable)]
"""What libraries and users' code may have written: kept without control characters."""
Facts = Annotated[dict[str, Any], AfterValidator(lambda facts: with_texts(facts, printable))]


class Part(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
        defer_build=True,  # as of the configuration
    )


class Filled(Part):
    """A part that is filled in, field by field, while a case is measured."""

    model_config = ConfigDict(frozen=False, validate_assignment=True)


class Identity(Part):
    """Which case it is; see `torchmodes.planning.cases.Case`."""

    task: Task
    device: Device
    model: Label
    mode: Label
    precision: Precision
    batch_size: Several


class Interval(Part):
    """An estimate with its 95 % interval; a bound is null where it is open."""

    estimate: NotNegative
    low: NotNegative | None
    high: NotNegative | None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        low, high = self.low, self.high
        if (low is not None and low > self.estimate) or (high is not None and high < self.estimate):
            raise ValueError(f"{self.estimate} is not between its bounds {low} and {high}")
        return self

    @property
    def says_nothing(self) -> bool:
        """Whether, as the interval of a ratio, it is too wide for its estimate to mean anything.

        One block has no interval at all: both bounds are null, and this is false.
        """
        if self.low is None and self.high is None:
            return False
        if not self.low or self.high is None:
            return True
        return self.high / self.low > WIDEST_HALF_WIDTH**2


def _is_speed_up(interval: Interval) -> Interval:
    if interval.estimate == 0 or interval.low == 0:
        raise ValueError("a speed-up and its bounds are above 0")
    return interval


SpeedUp = Annotated[Interval, AfterValidator(_is_speed_up)]


class Block(Part):
    """Four samples taken together: the unit of all statistics."""

    order: Literal["ABBA", "BAAB"] = Field(description="A: baseline, B: candidate")
    seconds: tuple[CallSeconds, CallSeconds, CallSeconds, CallSeconds] = Field(
        description="per call, in that order; of several calls their median"
    )
    calls: tuple[CallsSeconds, CallsSeconds, CallsSeconds, CallsSeconds] | None = Field(
        None,
        description="of a sample that timed several calls, each of them; null: one, or one group",
        exclude_if=lambda calls: calls is None,
    )
    device_seconds: tuple[NotNegative, NotNegative, NotNegative, NotNegative] | None = Field(
        None,
        description="by CUDA events, of the call of that side just before each sample; of calls of"
        " 50 ms and longer, and in older records, of the sample itself",
    )
    at_s: float = Field(description="when the block began, seconds after sampling began")
    interrupted: bool = Field(
        False, description="the process was stopped meanwhile: in no statistics"
    )
    run: Several = Field(1, description="the process that took it, by its number")
    batch: Count | None = Field(
        None,
        description="of a schedule: the batch that all four samples took",
        exclude_if=lambda batch: batch is None,
    )


class Samples(Part):
    """Every sample that was taken; none is dropped."""

    clock: str = Field(description="what measured the seconds")
    timer_s: float | None = Field(None, description="the finest time that it can tell apart")
    empty_sample_s: float | None = Field(
        None, description="what it reports for a call that does nothing; not subtracted"
    )
    calls_per_sample: Several
    blocks: list[Block] = Field(
        min_length=1, validation_alias=_BLOCKS_KEY, serialization_alias=_BLOCKS_KEY
    )

    @property
    def counted(self) -> list[Block]:
        """The blocks that statistics are made of."""
        return [block for block in self.blocks if not block.interrupted]


class ScheduledBatch(Part):
    """A batch of a schedule."""

    shape: tuple[Count, ...] = Field(description="of its first tensor")
    tokens: Count | None = Field(description="that are no padding; null: nobody knows")


class ShapeTimes(Part):
    """What the samples say of the batches of one shape."""

    shape: tuple[Count, ...]
    batches: Several
    samples: Count = Field(description="of each side")
    baseline_median_s: CallSeconds | None
    median_s: CallSeconds | None


class Schedule(Part):
    """Batches of different sizes that the calls of both sides took in turn."""

    padding: str | None = Field(description="the policy; null: the batches are the user's own")
    items: Several = Field(description="in all batches together")
    left_out: Count = Field(description="texts in no batch: the last few, or beyond `batches`")
    truncated: Count = Field(description="texts cut at sequence_length")
    useful_share: float | None = Field(
        ge=0, le=1, description="of all tokens, those that are no padding; null: nobody knows"
    )
    recompiles: Count = Field(
        description="graphs that TorchDynamo compiled at the first calls of the other batches"
    )
    recompiles_while_sampling: Count = Field(description="and after those, while calls were timed")
    batches: list[ScheduledBatch]
    shapes: list[ShapeTimes] = []
    baseline_pass_s: NotNegative | None = Field(None, description="likewise")
    pass_s: NotNegative | None = Field(
        None,
        description="one call on every batch: the sum of the batches' medians; null: not every"
        " batch was sampled",
    )


class Warmup(Part):
    """What ran before the first sample."""

    calls: Count = Field(description="of each side")
    seconds: NotNegative
    steady: bool = Field(description="whether two adjacent windows agreed before the cap")


class Latency(Part):
    """Seconds per call of one side; a percentile is null where the sample cannot support it."""

    n: Several
    median_s: CallSeconds
    mean_s: CallSeconds
    min_s: CallSeconds
    max_s: CallSeconds
    standard_deviation_s: NotNegative
    p50_s: CallSeconds
    p90_s: CallSeconds | None
    p95_s: CallSeconds | None
    p99_s: CallSeconds | None


class Statistics(Part):
    """What the samples say; `docs/measuring.md` defines every figure."""

    speed_up: SpeedUp = Field(description="baseline time / candidate time")
    half_width: NotNegative | None = Field(description="of the interval, relative")
    blocks: Several = Field(validation_alias=_BLOCKS_KEY, serialization_alias=_BLOCKS_KEY)
    converged: bool = Field(description="whether the target half-width was reached in the budget")
    noise_floor: NotNegative | None = Field(
        description="relative: the bias of measuring, from all A/A cases of the device; of records"
        " of one process, from the group's A/A case"
    )
    margin: NotNegative = Field(
        description="relative; the larger of noise floor and minimum effect"
    )
    p_value: float | None = Field(ge=0, le=1, description="of an effect beyond the margin")
    baseline: Latency
    candidate: Latency
    throughput_per_s: float = Field(
        gt=0,
        description="items per second of the candidate, at its median latency; of a schedule, at"
        " the mean of its batches' medians",
    )
    drift: float | None = Field(description="relative change of the baseline over the sampling")
    drifting: bool
    autocorrelation: float | None = Field(description="lag 1, of the blocks")
    autocorrelated: bool
    runs: Several = Field(1, description="processes that the interval is over")
    standard_error: NotNegative | None = Field(
        None, description="of the logarithm of the speed-up, over runs; null: one run"
    )
    degrees_of_freedom: float | None = Field(None, description="of that", gt=0)
    spread: NotNegative | None = Field(
        None, description="standard deviation between the runs' speed-ups, relative; null: one run"
    )
    looks: Count = Field(
        0,
        description="how often runs were added because the answer was open (make sharpen); the"
        " p-value has paid for it",
    )


ITEM_SHARE = 1 / 5
"""What the error of one item weighs of the whole output's, which one among many hardly moves.

Of a million normal errors the largest is 4.9 times their root mean square.
"""
LOST = 0.5
"""Relative L2 error above which an item or a slice has little to do with the baseline's."""
LOST_SHARE = 1 / 3
"""What the error of such a part weighs: in int4 nothing else would make a lost one wrong."""


def weight_of_part(error: float | None, *, item: bool) -> float:
    """Return what the relative L2 error of an item, or of a slice, weighs against the tolerance.

    Slices, along any dimension but the first, have fewer values: none counts that is not lost.
    """
    if error is None:
        return 0.0
    return (LOST_SHARE if error > LOST else ITEM_SHARE if item else 0.0) * error


def most_of_part(tolerance: float, *, item: bool) -> float:
    """Return the largest relative L2 error of an item, or a slice, that weighs no more."""
    lost = max(LOST, tolerance / LOST_SHARE)
    return min(tolerance / ITEM_SHARE, lost) if item else lost


class Numerics(Part):
    """The candidate's output against the baseline's."""

    within_tolerance: bool
    reason: Text | None = Field(None, description="why not")
    compared: Literal["output", "losses", "gradients", "parameters"] = Field(
        description="of a training step losses; gradients or parameters where those are wrong"
    )
    max_abs: NotNegative | None = Field(None, description="largest |candidate − baseline|")
    max_rel: NotNegative | None = Field(
        None,
        description="largest |candidate − baseline| / max(|baseline|, rms of the baseline's"
        " tensor), so that elements near zero do not look like large errors",
    )
    relative_l2: NotNegative | None = Field(
        None, description="‖candidate − baseline‖ / ‖baseline‖ of the worst tensor"
    )
    worst_item: NotNegative | None = Field(
        None,
        description="relative L2 error of the item of a tensor's first dimension (a batch's) that"
        " is furthest off; its norm is no less than their root mean square",
    )
    worst_slice: NotNegative | None = Field(
        None,
        description="likewise of the worst slice along another dimension, such as a position or a"
        " class, of eight values and more",
    )
    differing: float | None = Field(
        None, ge=0, le=1, description="share of the integers, or truth values, that differ"
    )
    cosine: float | None = Field(
        None, description="of the angle between the two, in the worst tensor"
    )
    tolerance: NotNegative = Field(
        description="of relative_l2, of differing and of a fifth of worst_item; of a third of"
        " worst_item or worst_slice beyond a half"
    )
    usual_tolerance: NotNegative | None = Field(
        None,
        description="the precision's, where the output is outside of it and was scored on the"
        " user's data instead; null: it is the tolerance",
    )
    input_sets: Several = Field(1, description="on which outputs were compared")
    inputs: Literal["drawn", "rearranged", "example", "schedule"] = Field(
        "example",
        description="where those come from: drawn by the model's own inputs under several seeds;"
        " the example rearranged, where they do not depend on the seed; the example alone; the"
        " batches of a schedule",
    )
    seed_distance: NotNegative | None = Field(
        None,
        description="relative L2 error of eager's own losses under another seed of weights, batches"
        " and dropout: what is noise in training",
    )
    losses_compared: Several | None = Field(
        None,
        description="steps of a training whose losses were compared: all, or as many as there are"
        " until ten times what a last bit of the weights makes of eager's is as far as another"
        " seed",
    )
    gradient_error: NotNegative | None = Field(
        None, description="of the worst gradient of the first step, relative"
    )
    gradient_tolerance: NotNegative | None = Field(
        None, description="of that: ten times what rounding makes of it in eager, or 1e-3"
    )
    parameter_error: NotNegative | None = Field(
        None, description="of what the first steps changed in the worst parameter, relative"
    )
    parameter_tolerance: NotNegative | None = Field(None, description="of that, likewise")

    @property
    def whole_error(self) -> float:
        """The larger of `relative_l2` and `differing`."""
        return max(self.relative_l2 or 0.0, self.differing or 0.0)

    @property
    def error(self) -> float:
        """What is held against the tolerance: that, or what the worst item or slice weighs."""
        return max(
            self.whole_error,
            weight_of_part(self.worst_item, item=True),
            weight_of_part(self.worst_slice, item=False),
        )


class Exactness(Part):
    """Relative L2 errors against eager in fp64: of eager in fp32, and of the mode."""

    eager: NotNegative | None = None
    mode: NotNegative | None = None
    reason: Text | None = Field(None, description="why it was not run in fp64")


class Agreement(Part):
    """Whether a mode in low precision chooses as eager does: of logits, without labels."""

    decisions: Several = Field(description="compared: items of a classifier, tokens of a text")
    input_sets: Several = Field(description="seeded ones, on which they were made")
    top1: Fraction = Field(description="share of decisions whose first choice is eager's")
    flips_by_lead: tuple[Fraction, Fraction, Fraction, Fraction] = Field(
        description="share of other choices in each quarter of the decisions, by how much eager's"
        " first choice leads its second: from ties to clear decisions"
    )
    kl_divergence: NotNegative = Field(
        description="of the candidate's softmax from eager's, mean over decisions, nats"
    )
    random_weights: bool = Field(description="then the decisions mean nothing by themselves")


class Quality(Part):
    """Scores that the user's function gave both sides on the same examples; larger is better."""

    verdict: QualityVerdict = Field(
        description="no worse: the interval lies above −margin; worse: below it"
    )
    kind: Literal["right or wrong", "score"] = Field(description="whether every score is 0 or 1")
    examples: Several
    baseline: float = Field(description="mean score of eager")
    candidate: float = Field(description="mean score of the mode")
    difference: float = Field(description="candidate − baseline, mean of the examples")
    low: float | None = Field(description="of its 95 % interval; null: too few examples")
    high: float | None = Field(description="likewise")
    margin: NotNegative = Field(description="the loss that is acceptable, in the scores' unit")
    better: Count = Field(description="examples that the candidate scores higher on")
    worse: Count = Field(description="examples that it scores lower on")
    examples_needed: Count | None = Field(
        description="that would decide, were they like these; null: it is decided, or none would"
    )
    seconds: NotNegative | None = Field(None, description="that scoring both sides took")


class Cost(Filled):
    """What the mode asks before it pays."""

    import_s: NotNegative | None = Field(
        None, description="importing PyTorch and what the case needs"
    )
    build_s: NotNegative | None = Field(None, description="building the model")
    prepare_s: NotNegative | None = Field(
        None, description="the mode's preparation before the first call"
    )
    first_call_s: NotNegative | None = Field(
        None,
        description="the first call, with empty compile caches; of a schedule, the first calls on"
        " all of its batches",
    )
    baseline_first_call_s: NotNegative | None = None
    peak_host_bytes: Count | None = Field(
        None, description="high-water mark of resident memory above the start, candidate alone"
    )
    peak_children_bytes: Count | None = Field(None, description="of the largest child (compilers)")
    cuda_allocated_bytes: Count | None = Field(None, description="peak")
    cuda_reserved_bytes: Count | None = Field(None, description="peak")
    parameter_bytes: Count | None = None
    artefact_bytes: Count | None = Field(None, description="files the mode needs at run time")
    cpu_cores_used: NotNegative | None = Field(None, description="mean, while sampling")
    other_load: NotNegative | None = Field(
        None, description="cores kept busy by others while sampling"
    )
    stolen: NotNegative | None = Field(
        None, description="cores that the hypervisor took away while sampling"
    )
    cores_missing: NotNegative | None = Field(
        None, description="cores that the case had use for while sampling and did not have"
    )
    gpu_utilisation: NotNegative | None = Field(
        None, description="share of the last second of sampling in which a kernel ran, by NVML"
    )
    break_even_calls: Interval | None = Field(
        None,
        description="calls that pay back what prepare_s + first_call_s exceed"
        " baseline_first_call_s by; null: the estimate shows no gain",
    )


class Energy(Part):
    """Energy of the candidate, measured in a block of its own."""

    joules: float | None = None
    seconds: float | None = None
    source: str | None = Field(None, description="what counted")
    reason: Text | None = Field(None, description="why there is no figure")
    calls: int | None = None
    items: int | None = None
    joules_per_item: float | None = None


class Usage(Part):
    """What the calls of one side took of the system, on average."""

    minor_faults: NotNegative = Field(
        description="pages a call that the system handed out: memory given back before"
    )
    involuntary_switches: NotNegative = Field(
        description="how often a call lost a processor that it had use for"
    )
    system_share: float | None = Field(
        ge=0, le=1, description="of its processor time, spent in the kernel"
    )


class Failure(Part):
    """What went wrong in the measuring process."""

    type: Text
    message: Text
    traceback: Text | None
    log: str


class GpuState(Part):
    """One GPU at one moment; null is what it does not tell."""

    reason: Text | None = Field(description="why there are no figures at all")
    name: Text | None = None
    uuid: Text | None = None
    driver: Text | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    utilisation_percent: int | None = None
    throttle_reasons: tuple[str, ...] | None = Field(
        None, description="what holds the clocks down now, in words"
    )
    throttled: bool | None = Field(
        None, description="whether any of them is more than being idle or a setting of the user's"
    )
    held_down_s: dict[str, float] | None = Field(
        None, description="for which the clocks were held down so far, by what the GPU counts"
    )


class Gpu(Part):
    """The GPU before the samples and after them."""

    before: GpuState
    after: GpuState


class Divergence(Part):
    """The first token of a greedy generation that is not eager's."""

    prompt: Count = Field(description="which input set the prompt is of; 0: the one that is timed")
    sequence: Count = Field(description="of the batch, from 0")
    token: Several = Field(description="which of the new tokens, from 1")
    expected: Count = Field(description="eager's, an id of the vocabulary")
    found: Count
    gap: NotNegative = Field(description="by which eager's own token has the higher logit in eager")
    tie: bool = Field(
        description="whether errors within tolerance explain it: gap ≤ 2 × tolerance × rms of the"
        " logits"
    )

    def __str__(self) -> str:
        """Tell it in one sentence."""
        told = (
            f"token {self.token} is {self.found} instead of {self.expected} (prompt {self.prompt},"
            f" sequence {self.sequence}; in eager their logits are {self.gap:.2g} apart)"
        )
        return f"{told}: a tie within tolerance" if self.tie else told


class TimedPart(Part):
    """A part of a generation, timed in blocks against eager as the decode step is."""

    speed_up: SpeedUp = Field(description="over runs; of one run, within its process")
    log_speed_up: float = Field(description="of the first run, a natural logarithm")
    standard_error: NotNegative | None = Field(
        description="of that, as if blocks were independent; null: one block"
    )
    blocks: Several
    baseline: Latency
    candidate: Latency


class StepAt(Part):
    """A decode step at another position than that of the statistics, timed beside whole texts."""

    position: Several = Field(description="tokens in the cache before it")
    median_s: NotNegative
    baseline_median_s: NotNegative


class Generation(Part):
    """A generation of text: what it was, whether its tokens are eager's, and how long parts take.

    The statistics of the record are of one decode step at `position`.
    """

    prompt_length: Several
    new_tokens: Several
    position: Several = Field(description="tokens in the cache before the step that is timed")
    cache: Literal["dynamic", "static", "own"] = Field(
        description="of keys and values that grows, or of all positions; or a state of the model's"
        " own"
    )
    sequences: Several = Field(description="whose tokens were compared with eager's")
    divergence: Divergence | None = Field(description="null: every token is eager's")
    logit_errors: list[NotNegative | None] = Field(
        description="relative L2 error of the logits of each new token, after eager's tokens before"
        " it: the worst of all prompts; null: not finite"
    )
    compiled_at: list[Count] = Field(
        description="positions at which TorchDynamo compiled, beside the prompt"
    )
    weight_bytes: Count | None = Field(description="that a step reads; null: not known")
    cache_bytes: Count = Field(description="that a step reads at the least, of the whole batch")
    prefill: TimedPart | None = Field(None, description="the prompt: time to the first token")
    whole: TimedPart | None = Field(None, description="prompt and all new tokens, greedily")
    between_tokens: Latency | None = Field(
        None, description="from one token to the next within whole generations"
    )
    baseline_between_tokens: Latency | None = None
    ends: list[StepAt] = Field([], description="its first step and its last")
    accounted: NotNegative | None = Field(
        None,
        description="share of a whole generation's time that its prompt and as many steps as it has"
        " take, each timed alone beside it",
    )
    baseline_accounted: NotNegative | None = Field(None, description="eager's likewise")
    accounted_half_width: NotNegative | None = Field(
        None, description="of either within the first run: the 95 % interval's, relative"
    )
    of_reference: NotNegative | None = Field(
        None,
        description="eager's whole generation over generate of transformers, timed beside it; null:"
        " there is none for this model",
    )

    @property
    def tokens_per_s(self) -> float | None:
        """New tokens a second of one sequence of a whole generation."""
        return None if self.whole is None else self.new_tokens / self.whole.candidate.median_s


class Execution(Filled):
    """How the measuring ran, as only its own process can tell."""

    sampling_s: float | None = Field(None, description="from the first sample to the last")
    stopped_s: float | None = Field(
        None, description="seconds in which the process was stopped while sampling; not in it"
    )
    bookkeeping_share: float | None = Field(
        None, description="of sampling_s: spent on untimed calls, synchronising and looking"
    )
    torch_threads: Count | None = Field(None, description="as PyTorch reports them")


class Run(Execution):
    """When and how the measuring process ran."""

    started_at: str = Field(description="ISO 8601, UTC")
    finished_at: str
    wall_s: float
    start_method: Literal["fork", "fresh", "none"] = Field(
        description="fork of a preloaded server, fresh interpreter; none: not started"
    )
    start_s: float = Field(description="from the request until the case began, imports included")
    other_load_at_start: float | None = Field(
        None, description="cores kept busy by others in half a second before the process started"
    )
    threads: Several = Field(description="asked for")


class Known(Part):
    """What is known of a case before it is measured."""

    schema_version: Literal[1] = SCHEMA_VERSION
    case: Identity
    parameters: dict[str, Any] = Field(description="what of the configuration produced this")


class CaseRun(Part):
    """One of the processes that a case was measured in."""

    number: Several
    run: Run
    log_speed_up: float = Field(description="the trimmed mean of its blocks, a natural logarithm")
    standard_error: NotNegative = Field(
        description="of that, within this process and no more, as if blocks were independent"
    )
    prepare_s: NotNegative | None = Field(description="cold in the first run, warm in the others")
    first_call_s: NotNegative | None = Field(description="likewise")
    peak_host_bytes: Count | None = Field(None, description="likewise; as of `cost`")
    usage: Usage | None = None
    baseline_usage: Usage | None = None
    left_out: Text | None = Field(None, description="why it is in no statistics of the record")


class Findings(Filled):
    """How a case ended and what was measured: what its own process tells of it."""

    status: Status
    reason: Text | None = Field(None, description="status other than ok: why")
    remedy: Text | None = Field(None, description="status other than ok, or no verdict: what to do")
    failure: Failure | None = None
    verdict: Verdict | None = None
    no_verdict: Text | None = Field(
        None, description="set when nothing is concluded from the samples, saying why: unresolved"
    )
    doubted: bool = Field(
        False, description="no_verdict is about the mode, not the machine: no other run settles it"
    )
    no_effect: Text | None = Field(None, description="set when the mode did nothing, saying how")
    item: str = Field("item", description="what throughput counts")
    flops: Count | None = Field(
        None, description="of one forward pass of the batch, by shape; null: not counted"
    )
    warmup: Warmup | None = None
    samples: Samples | None = None
    statistics: Statistics | None = None
    schedule: Schedule | None = Field(None, exclude_if=lambda schedule: schedule is None)
    numerics: Numerics | None = None
    exactness: Exactness | None = None
    agreement: Agreement | None = None
    quality: Quality | None = None
    usage: Usage | None = None
    baseline_usage: Usage | None = None
    cost: Cost | None = None
    energy: Energy | None = None
    generation: Generation | None = Field(None, description="of the task generation")
    facts: Facts = Field({}, description="what the engine tells: graphs, breaks, nodes")
    gpu: Gpu | None = None
    warnings: list[Text] = Field([], description="reasons to trust the figures less")
    environment: dict[str, Any] = {}

    def withhold_verdict(self, reason: str, remedy: str, *, doubted: bool = False) -> None:
        """Conclude nothing from the samples, whatever their interval is."""
        self.doubted = doubted
        self.verdict, self.no_verdict, self.remedy = "unresolved", reason, remedy

    def withdraw(self, reason: str, remedy: str) -> None:
        """Call a case wrong after it was timed; what was timed counts for nothing."""
        self.status, self.reason, self.remedy = "wrong", reason, remedy
        self.samples = self.statistics = self.verdict = self.no_verdict = self.energy = None
        self.doubted = False
        if self.cost is not None:
            self.cost.break_even_calls = None


class Measured(Findings):
    """What the process of a case returns."""

    run: Execution = Field(default_factory=Execution)


class Record(Findings, Known):
    """One case: what it is, how it ended, what was measured."""

    model_config = ConfigDict(frozen=True, validate_assignment=False)

    run: Run = Field(description="the first of them, where there are several runs")
    runs: list[CaseRun] = Field(
        [], description="the processes it was measured in; none: one, before there were several"
    )

    @model_validator(mode="after")
    def _has_what_its_status_says(self) -> Self:
        """Ask a case that is ok for its figures, and any other for its reason and remedy."""
        needed = (
            ("samples", "statistics", "numerics") if self.status == "ok" else ("reason", "remedy")
        )
        if missing := [name for name in needed if not getattr(self, name)]:
            raise ValueError(f"the status is {self.status}, and {', '.join(missing)} is missing")
        if self.status == "ok" and self.numerics and not self.numerics.within_tolerance:
            raise ValueError("the status is ok, and the numerics are outside of tolerance")
        return self

    def in_brief(self) -> str:
        """Return one line for the terminal: the case and how it came out."""
        result = self.status if self.reason is None else f"{self.status}: {self.reason}"
        if self.status == "ok" and self.statistics is not None:
            speed_up = self.statistics.speed_up
            bounds = ", ".join(
                "?" if b is None else f"{b:.3f}" for b in (speed_up.low, speed_up.high)
            )
            result = (
                str(self.verdict)
                if speed_up.says_nothing
                else f"{speed_up.estimate:.3f}× [{bounds}] {self.verdict}"
            )
            if self.no_verdict is not None:
                result += f": {self.no_verdict}; {self.remedy}"
            if self.is_worse:
                result += "; worse on the user's data"
        return f"{self.identity}  {result}"

    @property
    def is_worse(self) -> bool:
        """Whether the mode is worse than eager on the user's data, by more than the margin."""
        return self.quality is not None and self.quality.verdict == "worse"

    @property
    def identity(self) -> Case:
        """The case."""
        return Case(**self.case.model_dump())


def read_record(path: Path) -> Record:
    """Read one record.

    Raises
    ------
    CorruptFile
        When the file is missing, is not a whole and valid record, or is that of another case than
        its path names.
    """
    try:
        record = Record.model_validate_json(read_bytes(path))
    except ValidationError as error:
        raise _corrupt(path, error) from None
    if case_at(path) not in (None, record.identity):
        raise CorruptFile(path, f"is the record of another case, {record.identity}")
    return record


def _corrupt(path: Path, error: ValidationError) -> CorruptFile:
    """Say what is wrong with a record: another version is told as such."""
    for fault in error.errors():
        if fault["loc"] == ("schema_version",) and isinstance(version := fault["input"], int):
            age = "a newer" if version > SCHEMA_VERSION else "an older"
            return CorruptFile(
                path,
                f"was made by {age} torchmodes (its schema is {version}, this one reads"
                f" {SCHEMA_VERSION})",
                remedy=f"read it with that one, or {AGAIN}",
            )
    return CorruptFile(path, f"is not a valid record ({first_fault(error.errors())})")


def read_records(paths: Iterable[Path], *, blocks: bool = True) -> list[Record]:
    """Read records, sorted by case; raises as `read_record` does.

    A record of 200 blocks takes 0.3 MB with every sample and a twentieth of that without.
    """
    records = map(read_record, paths)
    kept = records if blocks else map(_without_blocks, records)
    return sorted(kept, key=lambda record: record.identity)


def read_whole_records(
    paths: Iterable[Path], *, blocks: bool = True
) -> tuple[list[Record], list[Unreadable]]:
    """Read the records that are whole, sorted by case, and say what is wrong with the others."""
    whole: list[Record] = []
    unreadable: list[Unreadable] = []
    for path in paths:
        try:
            whole += read_records([path], blocks=blocks)
        except CorruptFile as error:
            unreadable.append(error.unreadable)
    return sorted(whole, key=lambda record: record.identity), unreadable


def _without_blocks(record: Record) -> Record:
    if record.samples is None:
        return record
    samples = record.samples.model_copy(update={"blocks": []})
    return record.model_copy(update={"samples": samples})


def same_hardware(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Tell whether two environments have the same processor, usable cores and kind of GPU.

    One that was read from a record may lack any of it.
    """

    def hardware(environment: Mapping[str, Any]) -> list[Any]:
        parts = (environment.get(name) for name in ("machine", "gpu"))
        machine, gpu = (part if isinstance(part, Mapping) else {} for part in parts)
        return [machine.get("cpu"), machine.get("cores_usable"), gpu.get("name")]

    return hardware(one) == hardware(other)


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically: the path holds the old file or the whole new one."""
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
