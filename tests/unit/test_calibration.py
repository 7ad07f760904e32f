"""The 95 % interval holds the truth 95 times in 100, under noise like a shared machine's."""

import pytest
from scipy.stats import binom

from benchmarks.calibration import coverage, stopped_coverage

REPEATS = 1500
CALM = ["normal", "Laplace", "Student t, 2 df", "Cauchy", "spikes", "one-sided spikes"]


def enough(share: float, *, nominal: float) -> bool:
    """Tell whether chance makes a share as low as this at least one time in 10,000."""
    return share * REPEATS >= binom.ppf(1e-4, REPEATS, nominal)


@pytest.mark.parametrize("noise", CALM)
@pytest.mark.parametrize("blocks", [3, 10, 40])
def test_fixed_length(noise: str, blocks: int) -> None:
    share = coverage(noise, blocks=blocks, repeats=REPEATS, seed=7)
    assert enough(share, nominal=0.95)
    assert share <= 0.995, "an interval this wide could say nothing"


@pytest.mark.parametrize("noise", ["normal", "spikes"])
@pytest.mark.parametrize("scale", [0.01, 0.02])
def test_stopping_on_the_width_costs_no_coverage(noise: str, scale: float) -> None:
    share, blocks = stopped_coverage(noise, scale=scale, repeats=REPEATS, seed=7)
    assert enough(share, nominal=0.945)
    assert 10 < blocks < 100


@pytest.mark.parametrize(("noise", "blocks", "nominal"), [
    ("exponential", 20, 0.94),
    ("autoregressive 0.2", 20, 0.94),
    ("autoregressive 0.5", 100, 0.93),
    ("slow waves", 400, 0.90),
])  # fmt: skip
def test_what_is_lost_to_skewed_and_dependent_noise_is_bounded(
    noise: str, blocks: int, nominal: float
) -> None:
    assert enough(coverage(noise, blocks=blocks, repeats=REPEATS, seed=7), nominal=nominal)
