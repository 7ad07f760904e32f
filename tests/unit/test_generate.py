"""The synthetic table: the same bytes for a seed, and plausible."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from torchmodes.config.run import HOUSING_FEATURES
from torchmodes.workloads.training import generate
from torchmodes.workloads.training.dataset import read_table, split_indices
from torchmodes.workloads.training.generate import UNITS, generate_housing, write_housing

COLUMNS = [*HOUSING_FEATURES, "Price"]
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def table():
    return generate_housing(rows=20_000, seed=42)


def test_the_bytes_are_those_of_every_platform(tmp_path, table):
    write_housing(table, tmp_path / "housing.csv")
    content = (tmp_path / "housing.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == (
        "e673885d347d89b0301553d2494947f0a63ca8aaae303627c8a36b3096f1b976"
    )
    assert content.startswith(b"Avg. Area Income,")
    assert b"\r" not in content


def test_another_seed_gives_other_rows(table):
    other = generate_housing(rows=20_000, seed=43)
    assert (other == table).mean().max() < 0.05


def test_columns_and_their_units_are_those_the_configuration_names(table):
    assert list(table.columns) == COLUMNS == list(UNITS)


def test_values_are_plausible(table):
    assert table.notna().all(axis=None)
    assert (table > 0).all(axis=None)
    assert table["Avg. Area Number of Bedrooms"].between(2, 6.5).all()
    means = table.mean()
    assert means["Avg. Area Income"] == pytest.approx(68_600, rel=0.01)
    assert means["Price"] == pytest.approx(1_232_000, rel=0.01)
    assert table["Price"].std() == pytest.approx(353_000, rel=0.01)
    correlation = table.corr()
    price = correlation["Price"]
    assert price["Avg. Area Income"] == pytest.approx(0.64, abs=0.02)
    assert price["Avg. Area House Age"] == pytest.approx(0.45, abs=0.02)
    assert price["Avg. Area Number of Rooms"] == pytest.approx(0.34, abs=0.02)
    assert price["Area Population"] == pytest.approx(0.42, abs=0.02)
    independent = correlation.loc["Avg. Area Income", "Area Population"]
    assert independent == pytest.approx(0, abs=0.02)


def explained(design: np.ndarray, price: np.ndarray) -> float:
    fitted = design @ np.linalg.lstsq(design, price, rcond=None)[0]
    return 1 - (price - fitted).var() / price.var()


def test_a_line_explains_the_price_well_and_a_curve_a_little_better(table):
    z = ((table - table.mean()) / table.std()).to_numpy()
    features, price = z[:, :5], z[:, 5]
    line = np.column_stack([np.ones(len(z)), features])
    curve = np.column_stack([line, features[:, 0] * features[:, 2], features[:, 1] ** 2])
    assert 0.91 < explained(line, price) < explained(curve, price) - 0.001
    assert explained(curve, price) < 0.95


def test_a_split_of_the_same_seed_draws_from_a_stream_of_its_own():
    stream = np.random.PCG64(np.random.SeedSequence(42, spawn_key=(generate.STREAM,)))
    order = np.argsort(stream.random_raw(100), kind="stable")
    split = split_indices(100, validation=0.1, test=0.1, seed=42)
    assert split.train.tolist() != order[:80].tolist()


def test_what_is_written_reads_back_exactly(tmp_path, table):
    path = tmp_path / "new" / "housing.csv"
    write_housing(table, path)
    again = read_table(path, features=HOUSING_FEATURES, target="Price")
    assert (again == table).all(axis=None)


def test_numbers_of_a_users_table_are_not_rounded(tmp_path):
    table = generate_housing(rows=50, seed=1).astype(float) / 3
    write_housing(table, tmp_path / "mine.csv")
    again = read_table(tmp_path / "mine.csv", features=HOUSING_FEATURES, target="Price")
    assert (again == table).all(axis=None)


def test_neither_generating_nor_reading_imports_torch():
    code = (
        "import sys, torchmodes.workloads.training.generate\n"
        "import torchmodes.workloads.training.dataset\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
