"""Energy, counted by a made-up RAPL and a made-up NVML, or missing with a reason."""

import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch

from torchmodes.measure import energy
from torchmodes.measure.energy import EnergyUnavailable, measure_energy, rapl_counter


@pytest.fixture
def powercap(tmp_path: Path) -> Path:
    for zone, name in {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(name + "\n")
        (tmp_path / zone / "energy_uj").write_text("1000000\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("5000000\n")
    (tmp_path / "intel-rapl").mkdir()
    return tmp_path


def set_uj(powercap: Path, zone: str, value: int) -> None:
    (powercap / zone / "energy_uj").write_text(f"{value}\n")


def test_packages_and_memory_are_added_and_nothing_twice(powercap: Path) -> None:
    counter = rapl_counter(powercap)
    for zone, value in {
        "intel-rapl:0": 3_000_000,
        "intel-rapl:0:0": 2_000_000,
        "intel-rapl:0:1": 1_500_000,
        "intel-rapl:1": 1_250_000,
        "intel-rapl:2": 4_000_000,
        "intel-rapl-mmio:0": 3_000_000,
    }.items():
        set_uj(powercap, zone, value)
    assert counter.joules() == pytest.approx(2.0 + 0.5 + 0.25)
    assert counter.source == "RAPL, processor packages and memory"


def test_a_counter_that_wraps_is_put_right(powercap: Path) -> None:
    counter = rapl_counter(powercap)
    set_uj(powercap, "intel-rapl:0", 500_000)
    assert counter.joules() == pytest.approx((500_000 - 1_000_000 + 5_000_000) * 1e-6)


def test_a_counter_for_root_only_is_a_reason_with_a_remedy(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def refusing(path: Path, **options: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError
        return read(path, **options)

    monkeypatch.setattr(Path, "read_text", refusing)
    with pytest.raises(EnergyUnavailable, match="sudo chmod a"):
        rapl_counter(powercap)


def test_a_counter_that_vanishes_meanwhile_is_a_reason(powercap: Path) -> None:
    counter = rapl_counter(powercap)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()
    with pytest.raises(EnergyUnavailable, match="cannot be read"):
        counter.joules()


def test_energy_per_item(powercap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", powercap)

    def call() -> None:
        zone = powercap / "intel-rapl:0" / "energy_uj"
        zone.write_text(str(int(zone.read_text()) + 1000))
        time.sleep(0.001)

    said = measure_energy(call, seconds=0.05, items_per_call=4, device="cpu")
    assert said.calls > 1
    assert said.items == 4 * said.calls
    assert said.joules == pytest.approx(said.calls * 1e-3)
    assert said.joules_per_item == pytest.approx(1e-3 / 4)
    assert said.seconds >= 0.05


def test_a_call_longer_than_the_block_is_made_once(
    powercap: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "POWERCAP", powercap)
    said = measure_energy(lambda: time.sleep(0.02), seconds=0.001, items_per_call=1, device="cpu")
    assert said.calls == 1


def test_nothing_is_called_where_nothing_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    said = measure_energy(lambda: called.append(1), seconds=5, items_per_call=1, device="cpu")
    assert not called
    assert said.joules is said.source is said.joules_per_item is None
    assert said.reason == f"no RAPL energy counter under {tmp_path}"


def test_a_gpu_is_waited_for_before_either_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    counted = iter([10_000, 15_500])

    def read(handle: str) -> int:
        log.append("read")
        return next(counted)

    nvml = SimpleNamespace(nvmlDeviceGetTotalEnergyConsumption=read, NVMLError=pynvml.NVMLError)

    @contextmanager
    def device(_index: int):
        yield nvml, "handle"
        log.append("closed")

    monkeypatch.setattr(energy, "nvml_device", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: log.append("wait"))
    said = measure_energy(lambda: log.append("call"), seconds=0, items_per_call=2, device="cuda")
    assert log == ["wait", "read", "call", "wait", "read", "closed"]
    assert said.joules == pytest.approx(5.5)
    assert said.joules_per_item == pytest.approx(2.75)


def test_a_gpu_that_counts_nothing_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: str) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    nvml = SimpleNamespace(nvmlDeviceGetTotalEnergyConsumption=refuse, NVMLError=pynvml.NVMLError)

    @contextmanager
    def device(_index: int):
        yield nvml, "handle"

    monkeypatch.setattr(energy, "nvml_device", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    said = measure_energy(lambda: None, seconds=0, items_per_call=1, device="cuda")
    assert said.reason.startswith("this GPU counts no energy")


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_every_device_gives_joules_or_a_reason(device: str) -> None:
    said = measure_energy(lambda: None, seconds=0, items_per_call=1, device=device)
    assert (said.joules is None) == (said.reason is not None)
