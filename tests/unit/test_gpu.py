"""What a GPU says of itself, asked of a made-up NVML, and of none."""

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import pynvml
import pytest
import torch

from torchmodes.measure.gpu import (
    THROTTLE_REASONS,
    gpu_state,
    nvml_device,
    throttle_reasons,
    throttling,
)
from torchmodes.results.records import GpuState


class FakeNvml(ModuleType):
    """As much of pynvml as is asked for; `broken` names what this GPU does not support."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0
    NVML_SUCCESS = pynvml.NVML_SUCCESS
    NVML_FI_DEV_PERF_POLICY_POWER = pynvml.NVML_FI_DEV_PERF_POLICY_POWER
    NVML_FI_DEV_PERF_POLICY_THERMAL = pynvml.NVML_FI_DEV_PERF_POLICY_THERMAL
    NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT = pynvml.NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT
    NVML_FI_DEV_PERF_POLICY_RELIABILITY = pynvml.NVML_FI_DEV_PERF_POLICY_RELIABILITY

    def __init__(self, *, broken: tuple[str, ...] = (), reasons: int = 0x4) -> None:
        super().__init__("pynvml")
        self.open, self.asked = 0, None
        answers = {
            "nvmlDeviceGetName": "Made-up GPU",
            "nvmlDeviceGetUUID": "GPU-1234",
            "nvmlSystemGetDriverVersion": "580.1",
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetPowerUsage": 250_500,
            "nvmlDeviceGetEnforcedPowerLimit": 300_000,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97),
            "nvmlDeviceGetCurrentClocksEventReasons": reasons,
            "nvmlDeviceGetCurrentClocksThrottleReasons": reasons,
        }
        for name, answer in answers.items():
            setattr(self, name, self._answering(answer))
        self.nvmlDeviceGetClockInfo = lambda handle, kind: {1: 1400, 2: 2600}[kind]
        for name in broken:
            setattr(self, name, self._refusing)

    def nvmlDeviceGetFieldValues(self, handle: object, fields: list[int]):  # noqa: N802
        """Count 2 s of power cap; this GPU does not know of a reliability limit."""
        values = (pynvml.c_nvmlFieldValue_t * len(fields))()
        for value, field in zip(values, fields, strict=True):
            value.fieldId = field
            if field == pynvml.NVML_FI_DEV_PERF_POLICY_RELIABILITY:
                value.nvmlReturn = pynvml.NVML_ERROR_NOT_SUPPORTED
            if field == pynvml.NVML_FI_DEV_PERF_POLICY_POWER:
                value.value.ullVal = 2_000_000_000
        return values

    def _answering(self, answer: object):
        return lambda *_: answer

    def _refusing(self, *_: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        if index > 0:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        self.asked = index
        return "handle"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self.asked = uuid
        return "handle"


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return None


def install(monkeypatch: pytest.MonkeyPatch, nvml: ModuleType | None) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)


@pytest.mark.usefixtures("without_cuda")
def test_a_gpu_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    install(monkeypatch, nvml)
    state = gpu_state(0)
    assert (state.sm_clock_mhz, state.memory_clock_mhz, state.sm_clock_max_mhz) == (
        1400,
        2600,
        1980,
    )
    assert (state.power_w, state.power_limit_w, state.temperature_c) == (250.5, 300, 61)
    assert (state.throttle_reasons, state.throttled) == (("power cap",), True)
    assert (state.reason, state.utilisation_percent) == (None, 97)
    assert state.held_down_s == {"power cap": 2.0, "thermal slowdown": 0.0, "board limit": 0.0}
    assert nvml.open == 0, "NVML is closed again"
    state.model_dump_json()


@pytest.mark.usefixtures("without_cuda")
def test_a_figure_that_is_not_supported_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = (
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTemperature",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetFieldValues",
    )
    install(monkeypatch, FakeNvml(broken=broken))
    state = gpu_state(0)
    assert state.power_w is state.temperature_c is state.utilisation_percent is None
    assert state.held_down_s is None
    assert state.sm_clock_mhz == 1400


@pytest.mark.usefixtures("without_cuda")
def test_an_old_driver_is_asked_by_the_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, FakeNvml(broken=("nvmlDeviceGetCurrentClocksEventReasons",)))
    assert gpu_state(0).throttle_reasons == ("power cap",)


@pytest.mark.usefixtures("without_cuda")
@pytest.mark.parametrize(
    ("mask", "throttled"), [(0x0, False), (0x1, False), (0x2, False), (0x8, True)]
)
def test_idling_and_clocks_fixed_on_purpose_are_no_throttling(
    monkeypatch: pytest.MonkeyPatch, mask: int, throttled: bool
) -> None:
    install(monkeypatch, FakeNvml(reasons=mask))
    assert gpu_state(0).throttled is throttled


def test_what_held_the_clocks_down_meanwhile_is_told_though_the_gpu_is_idle_again() -> None:
    before = GpuState(reason=None, held_down_s={"power cap": 2.0, "thermal slowdown": 1.0})
    idle = {"throttle_reasons": ("idle",), "throttled": False}
    after = GpuState(reason=None, held_down_s={"power cap": 5.5, "thermal slowdown": 1.0}, **idle)
    held = throttling(before, before, after, seconds=9.0)
    assert held == ["power cap for 3.5 s"]
    assert throttling(before, before, before, seconds=9.0) == []


def test_a_reason_of_the_moment_is_told_where_no_counter_knows_better() -> None:
    before = GpuState(reason=None, held_down_s={"power cap": 2.0})
    hot = ("idle", "power cap", "hardware slowdown")
    counted = before.model_copy(update={"throttle_reasons": hot, "throttled": True})
    assert throttling(before, before, counted, seconds=9.0) == ["hardware slowdown"]
    uncounted = GpuState(reason=None, throttle_reasons=hot, throttled=True)
    told = throttling(before, before, uncounted, seconds=9.0)
    assert told == ["hardware slowdown", "power cap"]


def test_a_power_cap_that_is_counted_at_rest_is_none() -> None:
    """On some boards the counter rises while the GPU idles: it would warn in every record."""
    at = [
        GpuState(reason=None, held_down_s={"power cap": s, "thermal slowdown": s})
        for s in (2, 2.2, 8)
    ]
    assert throttling(*at, seconds=6.0) == ["thermal slowdown for 5.8 s"]
    idle = GpuState(reason=None, throttle_reasons=("idle", "power cap"), throttled=True)
    assert throttling(idle, idle, idle, seconds=6.0) == []


def test_clocks_held_down_for_a_hundredth_of_the_time_are_no_warning() -> None:
    before = GpuState(reason=None, held_down_s={"power cap": 2.0})
    after = GpuState(reason=None, held_down_s={"power cap": 2.05})
    assert throttling(before, before, after, seconds=6.0) == []
    assert throttling(before, before, after, seconds=3.0) == ["power cap for 0.0 s"]


def test_pytorchs_index_is_found_by_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES renumbers PyTorch's devices, not NVML's."""
    nvml = FakeNvml()
    install(monkeypatch, nvml)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = SimpleNamespace(uuid="c0ffee00-1111")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    gpu_state(0)
    assert nvml.asked == "GPU-c0ffee00-1111"


@pytest.mark.usefixtures("without_cuda")
def test_no_binding_no_driver_no_device_are_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)
    assert gpu_state(0).reason == "the package nvidia-ml-py is not installed"
    nvml = FakeNvml(broken=("nvmlInit",))
    install(monkeypatch, nvml)
    assert gpu_state(0).reason.startswith("NVML does not start")
    nvml = FakeNvml()
    install(monkeypatch, nvml)
    assert gpu_state(3).reason.startswith("NVML does not find GPU 3")
    assert nvml.open == 0


@pytest.mark.usefixtures("without_cuda")
def test_nvml_is_closed_after_an_exception(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    install(monkeypatch, nvml)
    with pytest.raises(RuntimeError), nvml_device(0):
        raise RuntimeError
    assert nvml.open == 0


def test_this_machine_answers_or_says_why_not() -> None:
    state = gpu_state(0)
    assert (state.reason is None) == (state.name is not None)


def test_reasons_are_those_of_nvml() -> None:
    of_nvml = {
        value
        for name, value in vars(pynvml).items()
        if name.startswith(("nvmlClocksEventReason", "nvmlClocksThrottleReason"))
        and not name.endswith(("None", "All"))
    }
    assert set(THROTTLE_REASONS) == of_nvml


def test_several_reasons_and_an_unknown_one() -> None:
    assert throttle_reasons(0) == ()
    assert throttle_reasons(0x44) == ("power cap", "thermal slowdown (hardware)")
    assert throttle_reasons(0x10001) == ("idle", "unknown (0x10000)")
