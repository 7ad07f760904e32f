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
"""The widest interval of a ratio that still means something: the factor from middle to end."""
_BLOCKS_KEY = "quads"
"""The key of blocks in a record's JSON, kept from its first version."""
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
"""Seconds of one call, within what a clock can show, so that every ratio of two is a number."""
CallsSeconds = tuple[CallSeconds, ...]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0), AfterValidator(_fits_a_table)]
Several = Annotated[int, Field(ge=1), AfterValidator(_fits_a_table)]


Text = Annotated[str, AfterValidator(printable)]
"""Text that libraries or users' code may have written; control characters are removed."""
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
    """The case that was measured; see `torchmodes.planning.cases.Case`."""

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
        raise ValueError("a speed-up and its bounds must be above 0")
    return interval


SpeedUp = Annotated[Interval, AfterValidator(_is_speed_up)]


class Block(Part):
    """Four samples taken together: the unit of all statistics."""

    order: Literal["ABBA", "BAAB"] = Field(description="A: baseline, B: candidate")
    seconds: tuple[CallSeconds, CallSeconds, CallSeconds, CallSeconds] = Field(
        description="seconds per call, in that order; the median where a sample is several calls"
    )
    calls: tuple[CallsSeconds, CallsSeconds, CallsSeconds, CallsSeconds] | None = Field(
        None,
        description="seconds of each call, where a sample timed several calls one by one; null:"
        " one call, or one group of calls",
        exclude_if=lambda calls: calls is None,
    )
    device_seconds: tuple[NotNegative, NotNegative, NotNegative, NotNegative] | None = Field(
        None,
        description="by CUDA events: of the same side's call just before each sample; of the"
        " sample itself where calls take 50 ms or longer, and in older records",
    )
    at_s: float = Field(description="when the block began, in seconds after sampling began")
    interrupted: bool = Field(
        False,
        description="whether the process was stopped during the block, which is then in no"
        " statistics",
    )
    run: Several = Field(1, description="number of the process that took it")
    batch: Count | None = Field(
        None,
        description="number of the schedule's batch that all four samples used; null: no schedule",
        exclude_if=lambda batch: batch is None,
    )


class Samples(Part):
    """Every sample that was taken; none is dropped."""

    clock: str = Field(description="clock that measured the seconds")
    timer_s: float | None = Field(
        None, description="smallest time difference that the clock can tell"
    )
    empty_sample_s: float | None = Field(
        None, description="time that the clock reports for a call that does nothing; not subtracted"
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

    shape: tuple[Count, ...] = Field(description="shape of its first tensor")
    tokens: Count | None = Field(description="tokens that are not padding; null: not known")


class ShapeTimes(Part):
    """What the samples say of the batches of one shape."""

    shape: tuple[Count, ...]
    batches: Several
    samples: Count = Field(description="samples of each side")
    baseline_median_s: CallSeconds | None
    median_s: CallSeconds | None


class Schedule(Part):
    """Batches of different sizes that the calls of both sides took in turn."""

    padding: str | None = Field(description="padding policy; null: the batches are the user's own")
    items: Several = Field(description="items in all batches together")
    left_out: Count = Field(
        description="texts that are in no batch: the last few, or those beyond `batches`"
    )
    truncated: Count = Field(description="texts that were cut at sequence_length")
    useful_share: float | None = Field(
        ge=0, le=1, description="share of all tokens that are not padding; null: not known"
    )
    recompiles: Count = Field(
        description="graphs that TorchDynamo compiled at the first calls of the batches after the"
        " first"
    )
    recompiles_while_sampling: Count = Field(
        description="graphs that it compiled later, while calls were timed"
    )
    batches: list[ScheduledBatch]
    shapes: list[ShapeTimes] = []
    baseline_pass_s: NotNegative | None = Field(None, description="the same for the baseline")
    pass_s: NotNegative | None = Field(
        None,
        description="seconds of one call on every batch: the sum of the batches' medians; null:"
        " not every batch was sampled",
    )


class Warmup(Part):
    """The warm-up before the first sample."""

    calls: Count = Field(description="calls of each side")
    seconds: NotNegative
    steady: bool = Field(description="whether two adjacent windows agreed before the time was up")


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
    half_width: NotNegative | None = Field(
        description="half-width of the speed-up's interval, relative"
    )
    blocks: Several = Field(validation_alias=_BLOCKS_KEY, serialization_alias=_BLOCKS_KEY)
    converged: bool = Field(description="whether the target half-width was reached in the budget")
    noise_floor: NotNegative | None = Field(
        description="bias of measuring, relative: from all A/A cases of the device; in a record of"
        " one process, from the group's A/A case"
    )
    margin: NotNegative = Field(
        description="the larger of noise floor and minimum effect, relative"
    )
    p_value: float | None = Field(ge=0, le=1, description="p-value of an effect beyond the margin")
    baseline: Latency
    candidate: Latency
    throughput_per_s: float = Field(
        gt=0,
        description="items per second of the candidate at its median latency; for a schedule, at"
        " the mean of its batches' medians",
    )
    drift: float | None = Field(description="relative change of the baseline during sampling")
    drifting: bool
    autocorrelation: float | None = Field(description="autocorrelation of the blocks at lag 1")
    autocorrelated: bool
    runs: Several = Field(1, description="number of processes that the interval is over")
    standard_error: NotNegative | None = Field(
        None,
        description="standard error of the logarithm of the speed-up, over runs; null: one run",
    )
    degrees_of_freedom: float | None = Field(
        None, description="degrees of freedom of the standard error", gt=0
    )
    spread: NotNegative | None = Field(
        None, description="standard deviation between the runs' speed-ups, relative; null: one run"
    )
    looks: Count = Field(
        0,
        description="how often runs were added because the answer was open (make sharpen); the"
        " p-value is corrected for it",
    )


ITEM_SHARE = 1 / 5
"""The weight of one item's error beside the whole output's, which one item among many hardly moves.

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


def largest_weight(whole: float, item: float | None, sliced: float | None) -> float:
    """Return the error of an output that counts: as a whole, or of its worst item or slice."""
    return max(whole, weight_of_part(item, item=True), weight_of_part(sliced, item=False))


def most_of_part(tolerance: float, *, item: bool) -> float:
    """Return the largest relative L2 error of an item, or a slice, that weighs no more."""
    lost = max(LOST, tolerance / LOST_SHARE)
    return min(tolerance / ITEM_SHARE, lost) if item else lost


class Numerics(Part):
    """The candidate's output against the baseline's."""

    within_tolerance: bool
    reason: Text | None = Field(None, description="why it is not within tolerance")
    compared: Literal["output", "losses", "gradients", "parameters"] = Field(
        description="what was compared; for a training step the losses, or the gradients or"
        " parameters where those are wrong"
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
        " is furthest off; an item's norm counts as at least the items' root mean square",
    )
    worst_slice: NotNegative | None = Field(
        None,
        description="the same for slices along the other dimensions, such as a position or a class,"
        " of eight values or more",
    )
    differing: float | None = Field(
        None, ge=0, le=1, description="share of the integers or truth values that differ"
    )
    cosine: float | None = Field(
        None, description="cosine of the angle between the two, for the worst tensor"
    )
    tolerance: NotNegative = Field(
        description="limit for relative_l2, for differing, for a fifth of worst_item, and for a"
        " third of a worst_item or worst_slice above 0.5"
    )
    usual_tolerance: NotNegative | None = Field(
        None,
        description="tolerance of the precision, where the output exceeds it and was scored on the"
        " user's data instead; null: `tolerance` is that of the precision",
    )
    input_sets: Several = Field(
        1, description="number of input sets on which outputs were compared"
    )
    inputs: Literal["drawn", "rearranged", "example", "schedule"] = Field(
        "example",
        description="origin of the input sets: drawn by the model's own inputs under several"
        " seeds; the example rearranged, where the inputs do not depend on the seed; the example"
        " alone; the batches of a schedule",
    )
    seed_distance: NotNegative | None = Field(
        None,
        description="relative L2 distance between eager's losses under two seeds of weights,"
        " batches and dropout: the noise of training",
    )
    losses_compared: Several | None = Field(
        None,
        description="training steps whose losses were compared: all, or those until ten times the"
        " effect of a last-bit change of the weights on eager's losses is as large as that of"
        " another seed",
    )
    gradient_error: NotNegative | None = Field(
        None, description="relative error of the worst gradient of the first step"
    )
    gradient_tolerance: NotNegative | None = Field(
        None, description="limit for it: ten times what rounding does to it in eager, or 1e-3"
    )
    parameter_error: NotNegative | None = Field(
        None, description="relative error of the worst parameter's change over the first steps"
    )
    parameter_tolerance: NotNegative | None = Field(
        None, description="limit for it, found likewise"
    )

    @property
    def whole_error(self) -> float:
        """The larger of `relative_l2` and `differing`."""
        return max(self.relative_l2 or 0.0, self.differing or 0.0)

    @property
    def error(self) -> float:
        """What is compared with the tolerance: that, or what the worst item or slice weighs."""
        return largest_weight(self.whole_error, self.worst_item, self.worst_slice)


class Exactness(Part):
    """Relative L2 errors against eager in fp64: of eager in fp32, and of the mode."""

    eager: NotNegative | None = None
    mode: NotNegative | None = None
    reason: Text | None = Field(None, description="why the model was not run in fp64")


class Agreement(Part):
    """Whether a mode in low precision chooses as eager does, judged by logits, without labels."""

    decisions: Several = Field(
        description="number of decisions compared: items of a classifier, tokens of a text"
    )
    input_sets: Several = Field(description="number of seeded input sets on which they were made")
    top1: Fraction = Field(description="share of decisions whose first choice is eager's")
    flips_by_lead: tuple[Fraction, Fraction, Fraction, Fraction] = Field(
        description="share of decisions that differ, in each quarter of all decisions ordered by"
        " how far eager's first choice leads its second: from ties to clear decisions"
    )
    kl_divergence: NotNegative = Field(
        description="KL divergence of the candidate's softmax from eager's, mean over decisions,"
        " in nats"
    )
    random_weights: bool = Field(
        description="whether the weights are random: then the decisions mean nothing by themselves"
    )


class Quality(Part):
    """Scores that the user's function gave both sides on the same examples; larger is better."""

    verdict: QualityVerdict = Field(
        description="no worse: the interval lies above −margin; worse: below it"
    )
    kind: Literal["right or wrong", "score"] = Field(description="whether every score is 0 or 1")
    examples: Several
    baseline: float = Field(description="mean score of eager")
    candidate: float = Field(description="mean score of the mode")
    difference: float = Field(description="candidate − baseline, mean over the examples")
    low: float | None = Field(
        description="lower bound of its 95 % interval; null: too few examples"
    )
    high: float | None = Field(description="upper bound, likewise")
    margin: NotNegative = Field(description="largest acceptable loss, in the scores' unit")
    better: Count = Field(description="number of examples on which the candidate scores higher")
    worse: Count = Field(description="number of examples on which it scores lower")
    examples_needed: Count | None = Field(
        description="examples like these that would decide; null: it is decided, or no number"
        " would decide"
    )
    seconds: NotNegative | None = Field(None, description="seconds that scoring both sides took")


class Cost(Filled):
    """What the mode costs in time and memory before it pays back."""

    import_s: NotNegative | None = Field(
        None, description="importing PyTorch and what the case needs"
    )
    build_s: NotNegative | None = Field(None, description="building the model")
    prepare_s: NotNegative | None = Field(
        None, description="the mode's preparation before the first call"
    )
    first_call_s: NotNegative | None = Field(
        None,
        description="the first call, with empty compile caches; for a schedule, the first calls on"
        " all of its batches",
    )
    baseline_first_call_s: NotNegative | None = None
    peak_host_bytes: Count | None = Field(
        None, description="peak of resident memory above the start, candidate alone"
    )
    peak_children_bytes: Count | None = Field(
        None, description="peak of the largest child process (compilers)"
    )
    cuda_allocated_bytes: Count | None = Field(None, description="peak of memory that tensors take")
    cuda_reserved_bytes: Count | None = Field(
        None, description="peak of memory that PyTorch reserves"
    )
    parameter_bytes: Count | None = None
    artefact_bytes: Count | None = Field(
        None, description="size of the files that the mode needs at run time"
    )
    cpu_cores_used: NotNegative | None = Field(
        None, description="mean number of cores in use while sampling"
    )
    other_load: NotNegative | None = Field(
        None, description="cores kept busy by others while sampling"
    )
    stolen: NotNegative | None = Field(
        None, description="cores that the hypervisor took away while sampling"
    )
    cores_missing: NotNegative | None = Field(
        None, description="cores that the case could have used while sampling but did not get"
    )
    gpu_utilisation: NotNegative | None = Field(
        None,
        description="share of the last second of sampling in which a kernel ran, as NVML reports"
        " it",
    )
    break_even_calls: Interval | None = Field(
        None,
        description="calls after which the time saved makes up for the slower start (prepare_s +"
        " first_call_s against baseline_first_call_s); null: the estimate shows no gain",
    )


class Energy(Part):
    """Energy of the candidate, measured in a block of its own."""

    joules: float | None = None
    seconds: float | None = None
    source: str | None = Field(None, description="what counted the energy")
    reason: Text | None = Field(None, description="why there is no figure")
    calls: int | None = None
    items: int | None = None
    joules_per_item: float | None = None


class Usage(Part):
    """What the calls of one side asked of the operating system, on average."""

    minor_faults: NotNegative = Field(
        description="pages per call that the system handed out: memory that had been given back"
        " before"
    )
    involuntary_switches: NotNegative = Field(
        description="times per call that it lost a processor it still had use for"
    )
    system_share: float | None = Field(
        ge=0, le=1, description="share of its processor time spent in the kernel"
    )


class Failure(Part):
    """What went wrong in the measuring process."""

    type: Text
    message: Text
    traceback: Text | None
    log: str


class GpuState(Part):
    """One GPU at one moment; what it does not report is null."""

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
        None, description="whether any of them is more than idleness or a setting of the user's"
    )
    held_down_s: dict[str, float] | None = Field(
        None,
        description="seconds so far in which the clocks were held down, by reason, as the GPU"
        " counts them",
    )


class Gpu(Part):
    """The GPU before the samples and after them."""

    before: GpuState
    after: GpuState


class Divergence(Part):
    """The first token of a greedy generation that is not eager's."""

    prompt: Count = Field(
        description="input set that the prompt belongs to; 0: the one that is timed"
    )
    sequence: Count = Field(description="sequence of the batch, from 0")
    token: Several = Field(description="which of the new tokens, from 1")
    expected: Count = Field(description="eager's token, an id of the vocabulary")
    found: Count
    gap: NotNegative = Field(
        description="by how much the logit of eager's own token is higher, in eager"
    )
    tie: bool = Field(
        description="whether errors within tolerance explain it: gap ≤ 2 × tolerance × rms of the"
        " logits"
    )

    def __str__(self) -> str:
        """Describe it in one sentence."""
        told = (
            f"token {self.token} is {self.found} instead of {self.expected} (prompt {self.prompt},"
            f" sequence {self.sequence}; in eager their logits are {self.gap:.2g} apart)"
        )
        return f"{told}: a tie within tolerance" if self.tie else told


class TimedPart(Part):
    """A part of a generation, timed in blocks against eager like the decode step."""

    speed_up: SpeedUp = Field(
        description="speed-up over runs; within the process where there is one run"
    )
    log_speed_up: float = Field(description="natural logarithm of the first run's speed-up")
    standard_error: NotNegative | None = Field(
        description="standard error of log_speed_up, as if blocks were independent; null: one block"
    )
    blocks: Several
    baseline: Latency
    candidate: Latency


class StepAt(Part):
    """A decode step at a position other than that of the statistics, timed beside whole texts."""

    position: Several = Field(description="tokens in the cache before it")
    median_s: NotNegative
    baseline_median_s: NotNegative


class Generation(Part):
    """A generation of text: its lengths, whether its tokens are eager's, and how long parts take.

    The statistics of the record are of one decode step at `position`.
    """

    prompt_length: Several
    new_tokens: Several
    position: Several = Field(description="tokens in the cache before the step that is timed")
    cache: Literal["dynamic", "static", "own"] = Field(
        description="cache of keys and values: one that grows (dynamic), one with room for all"
        " positions (static), or a state of the model's own"
    )
    sequences: Several = Field(
        description="number of sequences whose tokens were compared with eager's"
    )
    divergence: Divergence | None = Field(
        description="first token that is not eager's; null: every token is eager's"
    )
    logit_errors: list[NotNegative | None] = Field(
        description="for each new token, relative L2 error of its logits given eager's tokens"
        " before it, the worst of all prompts; null: not finite"
    )
    compiled_at: list[Count] = Field(
        description="positions at which TorchDynamo compiled, other than the prompt"
    )
    weight_bytes: Count | None = Field(
        description="bytes of weights that a step reads; null: not known"
    )
    cache_bytes: Count = Field(
        description="bytes of the cache that a step reads at least, for the whole batch"
    )
    prefill: TimedPart | None = Field(None, description="the prompt: time to the first token")
    whole: TimedPart | None = Field(None, description="prompt and all new tokens, decoded greedily")
    between_tokens: Latency | None = Field(
        None, description="from one token to the next within whole generations"
    )
    baseline_between_tokens: Latency | None = None
    ends: list[StepAt] = Field([], description="the first decode step and the last")
    accounted: NotNegative | None = Field(
        None,
        description="share of a whole generation's time that its prompt and its steps add up to,"
        " when each is timed alone",
    )
    baseline_accounted: NotNegative | None = Field(None, description="the same for eager")
    accounted_half_width: NotNegative | None = Field(
        None, description="relative half-width of the 95 % interval of either, within the first run"
    )
    of_reference: NotNegative | None = Field(
        None,
        description="time of eager's whole generation divided by that of generate() of"
        " transformers, timed beside it; null: transformers has none for this model",
    )

    @property
    def tokens_per_s(self) -> float | None:
        """New tokens per second of one sequence in a whole generation."""
        return None if self.whole is None else self.new_tokens / self.whole.candidate.median_s


class Execution(Filled):
    """How the measuring process ran, as only the process itself can tell."""

    sampling_s: float | None = Field(None, description="seconds from the first sample to the last")
    stopped_s: float | None = Field(
        None,
        description="seconds in which the process was stopped while sampling; not part of"
        " sampling_s",
    )
    bookkeeping_share: float | None = Field(
        None,
        description="share of sampling_s spent on untimed calls, synchronising and checking the"
        " interval",
    )
    torch_threads: Count | None = Field(None, description="threads, as PyTorch reports them")


class Run(Execution):
    """When and how the measuring process ran."""

    started_at: str = Field(description="ISO 8601, UTC")
    finished_at: str
    wall_s: float
    start_method: Literal["fork", "fresh", "none"] = Field(
        description="forked from a preloaded server, or a fresh interpreter; none: not started"
    )
    start_s: float = Field(
        description="seconds from the request until the case began, imports included"
    )
    other_load_at_start: float | None = Field(
        None,
        description="cores kept busy by other processes in half a second before the process"
        " started",
    )
    threads: Several = Field(description="threads asked for")


class Known(Part):
    """What is known of a case before it is measured."""

    schema_version: Literal[1] = SCHEMA_VERSION
    case: Identity
    parameters: dict[str, Any] = Field(
        description="the part of the configuration that this depends on"
    )


class CaseRun(Part):
    """One of the processes that a case was measured in."""

    number: Several
    run: Run
    log_speed_up: float = Field(
        description="trimmed mean of its blocks' log speed-ups, a natural logarithm"
    )
    standard_error: NotNegative = Field(
        description="standard error of log_speed_up within this process, as if blocks were"
        " independent"
    )
    prepare_s: NotNegative | None = Field(
        description="as in `cost`: cold in the first run, warm in the others"
    )
    first_call_s: NotNegative | None = Field(description="likewise")
    peak_host_bytes: Count | None = Field(None, description="likewise")
    usage: Usage | None = None
    baseline_usage: Usage | None = None
    left_out: Text | None = Field(None, description="why it is left out of the record's statistics")


class Findings(Filled):
    """How a case ended and what was measured, as its own process reports it."""

    status: Status
    reason: Text | None = Field(None, description="why the status is other than ok")
    remedy: Text | None = Field(
        None, description="what to do, where the status is other than ok or there is no verdict"
    )
    failure: Failure | None = None
    verdict: Verdict | None = None
    no_verdict: Text | None = Field(
        None,
        description="why nothing is concluded from the samples; the verdict is then unresolved",
    )
    doubted: bool = Field(
        False,
        description="whether no_verdict is about the mode, not the machine: then further runs"
        " cannot settle it",
    )
    no_effect: Text | None = Field(
        None, description="how it came about that the mode did nothing; null: it did something"
    )
    item: str = Field("item", description="what throughput counts")
    flops: Count | None = Field(
        None,
        description="floating-point operations of one forward pass of the batch, counted from"
        " shapes; null: not counted",
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
    generation: Generation | None = Field(None, description="set for the task `generation`")
    facts: Facts = Field({}, description="what the engine reports: graphs, breaks, nodes")
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

    run: Run = Field(
        description="when and how the process ran; the first, where there are several runs"
    )
    runs: list[CaseRun] = Field(
        [],
        description="the processes in which it was measured; empty in records from before there"
        " were several",
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
            low, high = speed_up.low, speed_up.high
            bounds = "no interval" if low is None or high is None else f"{low:.3f}, {high:.3f}"
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
    def finished_at(self) -> str:
        """When the last of its runs ended: ISO 8601, UTC."""
        return max([self.run.finished_at, *(each.run.finished_at for each in self.runs)])

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
    """Say what is wrong with a record, naming its version where that is another."""
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
    """Return whether two environments have the same processor, usable cores and kind of GPU.

    An environment that was read from a record may lack any of these.
    """

    def hardware(environment: Mapping[str, Any]) -> list[Any]:
        parts = (environment.get(name) for name in ("machine", "gpu"))
        machine, gpu = (part if isinstance(part, Mapping) else {} for part in parts)
        return [machine.get("cpu"), machine.get("cores_usable"), gpu.get("name")]

    return hardware(one) == hardware(other)


def write_record(record: Record, path: Path) -> None:
    """Write a record atomically: the path holds the old file or the whole new one."""
    write_atomically(path, record.model_dump_json(indent=1) + "\n")
