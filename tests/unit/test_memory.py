"""Device memory and artefact bytes."""

from pathlib import Path

import pytest
import torch

from torchmodes.measure.memory import artefact_bytes, device_memory


def test_bytes_of_files_and_folders_are_added(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 10)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 1000)
    nested = tmp_path / "package" / "inner"
    nested.mkdir(parents=True)
    (nested / "kernel.so").write_bytes(b"x" * 300)
    assert artefact_bytes([tmp_path / "model.onnx", tmp_path / "model.onnx.data"]) == 1010
    assert artefact_bytes([tmp_path]) == 1310
    assert artefact_bytes([tmp_path, tmp_path / "model.onnx"]) == 1310, "no file counts twice"
    (tmp_path / "same").symlink_to(tmp_path / "package", target_is_directory=True)
    assert artefact_bytes([tmp_path / "same", tmp_path / "package"]) == 300
    assert artefact_bytes([]) == 0


def test_a_missing_artefact_is_no_artefact_of_no_bytes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        artefact_bytes([tmp_path / "model.onnx"])


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_devices_without_peaks_have_none(device: str) -> None:
    assert device_memory(device) == (None, None)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_peaks_outlive_what_was_allocated() -> None:
    torch.cuda.reset_peak_memory_stats()
    before, _ = device_memory("cuda")
    block = torch.empty(64 << 20, dtype=torch.uint8, device="cuda")
    del block
    allocated, reserved = device_memory("cuda")
    assert allocated - before >= 64 << 20
    assert reserved >= allocated
