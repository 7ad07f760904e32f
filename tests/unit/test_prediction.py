"""Predicting with what a training left: to the cent, in every mode, and what breaks is named."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from trained_run import BATCH, MODES, write_table, write_trained_run, write_training

from torchmodes.config.modes import CompileMode, EagerMode, FxMode
from torchmodes.planning.cases import TABLE_STATISTICS, trained_model, training_metrics
from torchmodes.prediction.artefacts import (
    Untrusted,
    Unusable,
    default_artefact,
    find_artefacts,
    weights_of,
)
from torchmodes.prediction.columns import beyond_training, decimals, in_words, usual
from torchmodes.prediction.layers import (
    activation_table,
    activations,
    histogram,
    parameter_table,
)
from torchmodes.prediction.loading import load_mlp
from torchmodes.prediction.predict import normalise, predict
from torchmodes.results.signing import NoKey, is_signed, key_file, sign
from torchmodes.workloads.training.dataset import Column, TableStatistics, load_statistics

EVERY_MODE = MODES | {
    "compiled": CompileMode(engine="compile", backend="eager"),
    "operators": FxMode(engine="fx", passes=["custom-operators"]),
}
VALUES = [71_250.0, 6.2, 7.4, 4.31, 30_500.0]


@pytest.fixture(scope="module")
def run_of_every_mode(tmp_path_factory: pytest.TempPathFactory, operators_library: Path) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_trained_run(folder, EVERY_MODE, operators=operators_library)
    return folder


@pytest.fixture
def run(run_of_every_mode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run, to be broken at will; it is the working directory."""
    shutil.copytree(run_of_every_mode / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def statistics(run: Path) -> TableStatistics:
    return load_statistics(Path(TABLE_STATISTICS))


def signed(*paths: Path) -> None:
    """Let files pass for what this user's training in eager made."""
    metrics = Path(training_metrics("eager"))
    told = json.loads(metrics.read_text())
    told["signatures"] |= {path.name: sign(path.read_bytes(), batch_size=BATCH) for path in paths}
    metrics.write_text(json.dumps(told))


def by_hand(mode: str, values: list[float]) -> float:
    """Evaluate a mode's weights layer by layer, with nothing of what is tested."""
    described = json.loads(Path("results/data/statistics.json").read_text())
    scores = [
        (value - column["mean"]) / column["standard_deviation"]
        for value, column in zip(values, described["features"], strict=True)
    ]
    weights = torch.load(f"results/training/{mode}/model/weights.pt", weights_only=True)
    x = torch.tensor([scores], dtype=torch.float32)
    for layer in (0, 2):
        x = F.linear(x, weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]).relu()
    score = F.linear(x, weights["layers.4.weight"], weights["layers.4.bias"]).item()
    target = described["target"]
    return score * target["standard_deviation"] + target["mean"]


@pytest.mark.parametrize("mode", EVERY_MODE)
def test_the_price_is_the_models_to_the_cent_in_every_mode(
    mode: str, statistics: TableStatistics
) -> None:
    for artefact in find_artefacts(mode):
        said = predict(artefact, statistics, VALUES)
        assert said.value == pytest.approx(by_hand(mode, VALUES), abs=0.005)
        assert 0 < said.latency_s < 1


def test_an_archive_comes_before_the_weights_and_both_are_named(run: Path) -> None:
    archive, weights = find_artefacts("torchscript")
    assert archive.description.startswith("model.pt, a TorchScript archive")
    assert weights.description.startswith("weights.pt, loaded into the MLP")
    assert [one.kind for one in find_artefacts("eager")] == ["weights"]


def test_the_row_is_normalised_as_in_training(run: Path, statistics: TableStatistics) -> None:
    means = [column.mean for column in statistics.features]
    assert normalise(statistics, means).tolist() == [[0.0] * 5]
    above = [column.mean + column.standard_deviation for column in statistics.features]
    assert normalise(statistics, above)[0].tolist() == pytest.approx([1.0] * 5)
    with pytest.raises(ValueError, match="4 values for 5 features"):
        normalise(statistics, VALUES[:-1])


@pytest.mark.parametrize(
    ("value", "said"),
    [(2.0, None), (6.5, None), (1.99, "below every value"), (6.51, "above every value")],
)
def test_a_value_beyond_the_training_data_is_flagged(value: float, said: str | None) -> None:
    column = Column("Bedrooms", 4.0, 1.2, minimum=2.0, maximum=6.5, unit="bedrooms")
    flagged = beyond_training(column, value)
    assert flagged is None if said is None else said in (flagged or "")
    assert flagged is None or "2.00 to 6.50" in flagged


def test_values_are_shown_with_the_digits_their_spread_deserves() -> None:
    income = Column("Income", 68_598.8414, 10_522.86, 29_044.0, 105_976.0, "dollars a year")
    tiny = Column("Share", 0.00123456, 0.0004, 0.0, 0.01, None)
    price = Column("Price", 1e6, 3e5, 1e4, 2e6, "dollars")
    assert (decimals(income), usual(income)) == (0, 68_599.0)
    assert (decimals(tiny), usual(tiny)) == (6, 0.001235)
    assert in_words(price, 1_234_567.891) == "$1,234,568"
    assert in_words(price, -5.0) == "-$5"


def test_what_was_not_trained_names_the_command(run: Path) -> None:
    with pytest.raises(Unusable, match="no model was trained in inductor") as caught:
        find_artefacts("inductor")
    assert caught.value.remedy == "snakemake --cores 4 results/training/inductor/metrics.json"


def test_a_name_in_a_command_is_one_word(run: Path) -> None:
    """Who was sent results copies the command; a folder may have any name."""
    with pytest.raises(Unusable) as caught:
        find_artefacts("x; touch harm")
    assert shlex.split(caught.value.remedy)[-1] == "results/training/x; touch harm/metrics.json"


def test_a_training_that_failed_gives_its_own_reason_and_remedy(run: Path) -> None:
    shutil.rmtree(trained_model("eager"))
    told = {"status": "unsupported", "reason": "no compiler", "remedy": "install g++"}
    Path(training_metrics("eager")).write_text(json.dumps({"mode": "eager", **told}))
    with pytest.raises(Unusable, match="Training in eager is unsupported: no compiler") as caught:
        find_artefacts("eager")
    assert caught.value.remedy == "install g++"


@pytest.mark.parametrize("left", ["", "[]", '{"status": "ok"}', "{"])
def test_a_model_that_vanished_is_trained_again(run: Path, left: str) -> None:
    shutil.rmtree(trained_model("eager"))
    Path(training_metrics("eager")).write_text(left)
    with pytest.raises(Unusable, match="results/training/eager") as caught:
        find_artefacts("eager")
    assert "--force results/training/eager/metrics.json" in caught.value.remedy


@pytest.mark.parametrize(
    ("mode", "name"),
    [("eager", "weights.pt"), ("torchscript", "model.pt"), ("eager", "training_stats.pt")],
)
@pytest.mark.parametrize("damage", ["empty", "cut", "text"])
def test_a_corrupt_file_is_named_with_its_remedy(
    mode: str, name: str, damage: str, statistics: TableStatistics
) -> None:
    path = Path(trained_model(mode)) / name
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"weights"}[damage])
    allowed = {hashlib.sha256(path.read_bytes()).hexdigest()}
    with pytest.raises(Unusable, match=f"{mode}/model/{name}: ") as caught:
        predict(find_artefacts(mode)[0], statistics, VALUES, allowed=allowed)
    assert not isinstance(caught.value, Untrusted)
    assert "--force" in caught.value.remedy


@pytest.mark.parametrize("name", ["model.onnx", "model.pt2"])
def test_a_corrupt_package_is_named_too(name: str, statistics: TableStatistics) -> None:
    path = Path(trained_model("eager")) / name
    path.write_bytes(b"no archive")
    signed(path)
    with pytest.raises(Unusable, match=f"eager/model/{name}: cannot be used for 5 features"):
        predict(find_artefacts("eager")[0], statistics, VALUES)


@pytest.mark.parametrize("mode", ["eager", "torchscript"])
@pytest.mark.parametrize("with_stats", [True, False])
def test_a_model_of_other_features_is_stale(run: Path, mode: str, with_stats: bool) -> None:
    if not with_stats:
        (Path(trained_model(mode)) / "training_stats.pt").unlink()
    shutil.rmtree("results/data")
    write_table(run, features=3)
    statistics = load_statistics(Path(TABLE_STATISTICS))
    with pytest.raises(Unusable, match=r"5 features|for 3 features|trained on the features"):
        predict(find_artefacts(mode)[0], statistics, VALUES[:3])


def test_a_model_of_the_same_features_of_another_table_is_stale(run: Path) -> None:
    shutil.rmtree("results/data")
    write_table(run, rows=500)
    statistics = load_statistics(Path(TABLE_STATISTICS))
    with pytest.raises(Unusable, match="trained on another table, which has changed since"):
        predict(find_artefacts("eager")[0], statistics, VALUES)


def test_any_number_of_features_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path, features=2)
    write_training(tmp_path, "eager", EagerMode(engine="eager"), features=2)
    statistics = load_statistics(Path(TABLE_STATISTICS))
    said = predict(find_artefacts("eager")[0], statistics, VALUES[:2])
    assert said.value == pytest.approx(by_hand("eager", VALUES[:2]), abs=0.005)


def test_weights_of_another_model_are_refused(statistics: TableStatistics) -> None:
    path = weights_of("eager").path
    state = torch.load(path, weights_only=True)
    torch.save({f"other.{name}": value for name, value in state.items()}, path)
    with pytest.raises(Unusable, match="do not fit the MLP"):
        load_mlp(weights_of("eager"), statistics)
    torch.save({"epoch": 3}, path)
    with pytest.raises(Unusable, match="no weights of linear layers"):
        load_mlp(weights_of("eager"), statistics)


def test_an_exported_program_and_an_onnx_graph_answer_for_one_row(
    statistics: TableStatistics,
) -> None:
    module = load_mlp(weights_of("eager"), statistics)
    example = (torch.zeros(BATCH, 5),)  # of a fixed batch, as a training would export it
    folder = Path(trained_model("eager"))
    program = torch.export.export(module, example)
    torch.export.save(program, folder / "model.pt2")
    torch.onnx.export(program, dynamo=True, verbose=False).save(folder / "model.onnx")
    signed(folder / "model.pt2", folder / "model.onnx")
    exported, graph, weights = find_artefacts("eager")
    assert (exported.kind, graph.kind, weights.kind) == ("export", "onnx", "weights")
    for artefact in (exported, graph):
        said = predict(artefact, statistics, VALUES)
        # Not the kernels of one row: float32 rounds apart, a part in a million of the spread.
        assert said.value == pytest.approx(by_hand("eager", VALUES), abs=0.5)


# --- What somebody else made -----------------------------------------------------------------


class Booby:
    """A pickle that writes a file when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (write_text, ("sprung", "by the pickle"))


def write_text(path: str, text: str) -> torch.Tensor:
    Path(path).write_text(text)
    return torch.zeros(1, 5)


def booby_trapped_program(path: Path) -> None:
    """Write an exported program whose sample inputs are such a pickle."""
    program = torch.export.export(torch.nn.Linear(5, 1), (torch.zeros(1, 5),))
    torch.export.save(program, path)
    whole = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
    pickled = io.BytesIO()
    torch.save(Booby(), pickled)
    with zipfile.ZipFile(path, "w") as changed:
        for name in whole.namelist():
            sample = "sample_inputs" in name
            changed.writestr(name, pickled.getvalue() if sample else whole.read(name))


def test_an_archive_of_somebody_else_is_not_loaded_but_with_leave(
    run: Path, statistics: TableStatistics
) -> None:
    archive = Path(trained_model("eager")) / "model.pt2"
    booby_trapped_program(archive)
    (artefact, weights) = find_artefacts("eager")
    with pytest.raises(Untrusted, match=r"model\.pt2: was not made by a training of yours") as told:
        predict(artefact, statistics, VALUES)
    assert "unpickles its sample inputs" in str(told.value)
    assert default_artefact("eager") == weights
    assert not (run / "sprung").exists()
    with pytest.raises(Unusable):  # the leave is for this content, and it has its effect
        predict(artefact, statistics, VALUES, allowed={told.value.digest})
    assert (run / "sprung").read_text() == "by the pickle"


def test_what_a_training_here_made_is_loaded_and_nothing_that_took_its_place(
    statistics: TableStatistics,
) -> None:
    artefact = find_artefacts("torchscript")[0]
    assert default_artefact("torchscript") == artefact
    predict(artefact, statistics, VALUES)
    torch.jit.save(torch.jit.script(torch.nn.Linear(5, 1)), artefact.path)
    with pytest.raises(Untrusted):
        predict(artefact, statistics, VALUES)


@pytest.mark.parametrize(
    "told",
    [
        {"signatures": {"model.pt": "0" * 64}},
        {"signatures": {"model.pt": "ü"}},
        {"signatures": {"model.pt": None}},
        {"signatures": ["model.pt"]},
        {"batch_size": BATCH * 2},  # compiled code would read beyond its input
        {"batch_size": None},
        None,
    ],
)
def test_metrics_that_came_with_an_archive_cannot_vouch_for_it(
    statistics: TableStatistics, told: dict[str, object] | None
) -> None:
    metrics = Path(training_metrics("torchscript"))
    made = json.loads(metrics.read_text())
    metrics.write_text("no JSON" if told is None else json.dumps(made | told))
    with pytest.raises(Untrusted):
        predict(find_artefacts("torchscript")[0], statistics, VALUES)


@pytest.mark.parametrize("harm", ["deleted", "another", "readable", "short", "linked"])
def test_a_key_that_is_not_this_users_alone_vouches_for_nothing(
    harm: str, statistics: TableStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = key_file()
    artefact = find_artefacts("torchscript")[0]
    metrics = Path(training_metrics("torchscript"))
    told = json.loads(metrics.read_text())
    told["signatures"] = {"model.pt": sign(artefact.path.read_bytes(), batch_size=BATCH)}
    metrics.write_text(json.dumps(told))
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    predict(artefact, statistics, VALUES)
    content = key.read_bytes()
    match harm:
        case "deleted":
            key.unlink()
        case "another":
            key.write_bytes(bytes(32))
        case "readable":
            key.chmod(0o644)
        case "short":
            key.write_bytes(content[:31])
        case "linked":
            key.rename(tmp_path / "elsewhere")
            key.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Untrusted):
        predict(artefact, statistics, VALUES)


@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "weights.pt", "metrics.json"])
def test_a_pipe_in_the_place_of_a_file_is_named_and_not_waited_for(
    name: str, statistics: TableStatistics
) -> None:
    path = Path(trained_model("torchscript")) / name
    if name == "metrics.json":
        path = Path(training_metrics("torchscript"))
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    asked = weights_of("torchscript") if name == "weights.pt" else find_artefacts("torchscript")[-2]
    with pytest.raises(Unusable, match=r"is not a file|was not made by a training of yours"):
        predict(asked, statistics, VALUES)


@pytest.mark.parametrize("told", [{}, {"features": 3}, {"features": [1, 2]}])
def test_what_tells_no_features_of_its_table_is_refused(
    told: dict[str, object], statistics: TableStatistics
) -> None:
    torch.save(told, Path(trained_model("eager")) / "training_stats.pt")
    with pytest.raises(Unusable, match="was trained on the features"):
        predict(weights_of("eager"), statistics, VALUES)


@pytest.mark.parametrize("content", [b"", bytes(31), bytes(33)])
def test_what_is_no_key_signs_nothing(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can sign with an empty one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    key_file().parent.mkdir(mode=0o700)
    key_file().write_bytes(content)
    key_file().chmod(0o600)
    with pytest.raises(NoKey, match="holds no key; delete it"):
        sign(b"an archive", batch_size=BATCH)
    forged = hmac.new(content, b"torchmodes artefact, batch 64\0an archive", "sha256").hexdigest()
    assert not is_signed(b"an archive", batch_size=64, signature=forged)


class Compiled:
    """What `aoti_load_package` returns, without the compiler."""

    def __init__(self, module: torch.nn.Module, device: str) -> None:
        self.module, self.device = module, device
        self.shapes: set[tuple[int, ...]] = set()

    def get_metadata(self) -> dict[str, str]:
        return {"AOTI_DEVICE_KEY": self.device}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        self.shapes.add(tuple(x.shape))
        return self.module(x)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_compiled_code_is_given_the_batch_it_was_compiled_for(
    device: str, statistics: TableStatistics, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(trained_model("eager")) / "model.pt2"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("model/data/aotinductor/model/x.wrapper.so", b"")
    signed(path)
    compiled = Compiled(load_mlp(weights_of("eager"), statistics), device)
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda _: compiled)
    artefact = find_artefacts("eager")[0]
    assert artefact.kind == "aotinductor"
    if device == "cuda":
        with pytest.raises(Unusable, match="compiled for cuda"):
            predict(artefact, statistics, VALUES)
        return
    said = predict(artefact, statistics, VALUES)
    assert said.value == pytest.approx(by_hand("eager", VALUES), abs=0.5)
    assert compiled.shapes == {(BATCH, 5)}


def test_a_model_that_diverged_answers_with_no_number(statistics: TableStatistics) -> None:
    weights = weights_of("eager")
    state = torch.load(weights.path)
    state["layers.0.weight"][0] = torch.nan
    torch.save(state, weights.path)
    with pytest.raises(Unusable, match=r"weights\.pt: answers with nan, which is no number"):
        predict(weights, statistics, VALUES)
    values = load_mlp(weights, statistics).state_dict()["layers.0.weight"].flatten().numpy()
    assert histogram(values)["count"].sum() == values.size - 5


def test_a_value_beyond_single_precision_has_no_answer(statistics: TableStatistics) -> None:
    with pytest.raises(Unusable, match="beyond single precision"):
        predict(weights_of("eager"), statistics, [1e300, *VALUES[1:]])


def test_layers_are_looked_into_without_changing_the_model(statistics: TableStatistics) -> None:
    module = load_mlp(weights_of("eager"), statistics)
    row = normalise(statistics, VALUES)
    before = module(row).item()
    found = activations(module, row)
    assert [one.kind for one in found] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    assert [one.units.size for one in found] == [16, 16, 8, 8, 1]
    assert found[1].units.tolist() == np.maximum(found[0].units, 0).tolist()
    assert found[-1].units.item() == module(row).item() == before
    table = activation_table(found)
    assert table["zero"].tolist()[1] == pytest.approx((found[0].units <= 0).mean())
    assert not any(layer._forward_hooks for layer in module.modules())


def test_parameters_and_histograms_count_every_value(statistics: TableStatistics) -> None:
    module = load_mlp(weights_of("eager"), statistics)
    table = parameter_table(module).set_index("parameter")
    assert table.loc["layers.0.weight", "shape"] == "16 × 5"
    assert table["values"].sum() == sum(p.numel() for p in module.parameters())
    values = dict(module.named_parameters())["layers.2.weight"].detach().flatten().numpy()
    assert histogram(values)["count"].sum() == values.size
