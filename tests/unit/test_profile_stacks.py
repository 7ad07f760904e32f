"""The Python stacks of a trace, one step piece by piece, and how the page draws them."""

from __future__ import annotations

import pandas as pd
import pytest
from pydantic import ValidationError

from torchmodes.profiling.chrome import parse_trace
from torchmodes.profiling.stacks import StacksFile, stacks_of
from torchmodes.profiling.timeline import timeline
from torchmodes.report.figures.timeline import slices_of
from torchmodes.report.flame import flame_cells


def event(name: str, category: str, start: float, length: float, thread: int = 1) -> dict:
    place = {"ph": "X", "pid": 1, "tid": thread}
    return {**place, "name": name, "cat": category, "ts": start, "dur": length}


TRACE = parse_trace(
    [
        event("main.py(1): main", "python_function", 0, 1000),
        event("ProfilerStep#0", "user_annotation", 100, 100),
        event("model.py(7): forward", "python_function", 110, 80),
        event("aten::linear", "cpu_op", 120, 60),
        event("aten::addmm", "cpu_op", 130, 40),
    ]
)


def test_stacks_hold_what_began_in_a_step_and_weigh_its_own_time():
    told = {tuple(f.name for f in s): t * 1e6 for s, t in stacks_of(TRACE).stacks()}
    assert told == {
        ("forward",): pytest.approx(20),
        ("forward", "aten::linear"): pytest.approx(20),
        ("forward", "aten::linear", "aten::addmm"): pytest.approx(40),
    }


def test_the_file_is_read_as_it_was_written_and_a_broken_one_refused():
    written = stacks_of(TRACE).text()
    assert StacksFile.model_validate_json(written).text() == written
    with pytest.raises(ValidationError, match="a frame that is not there"):
        StacksFile.model_validate_json(written.replace('"samples":[[0]', '"samples":[[9]'))


def test_a_flame_graph_puts_a_frame_below_its_caller_as_wide_as_its_time():
    cells = [(c.frame.name, c.level, round(c.width), c.kind) for c in flame_cells(stacks_of(TRACE))]
    assert cells == [
        ("forward", 0, 1000, "python"),
        ("aten::linear", 1, 750, "operator"),
        ("aten::addmm", 2, 500, "operator"),
    ]
    assert flame_cells(StacksFile()) == []


def test_a_timeline_names_the_innermost_operator_and_slices_what_takes_most():
    table = timeline(TRACE)
    assert table["operator"].tolist() == ["aten::linear", "aten::addmm", "aten::linear", "(step)"]
    assert table["end_s"].iloc[-1] == pytest.approx(100e-6)
    assert slices_of(table, 5) == ["other", "matmul", "matmul", "matmul", "other"]
    assert timeline(parse_trace([])).equals(pd.DataFrame(columns=table.columns))


def test_an_operator_that_begins_a_moment_before_the_last_one_ends_keeps_its_time():
    trace = parse_trace(
        [
            event("ProfilerStep#0", "user_annotation", 0, 100),
            event("small", "cpu_op", 10, 10),
            event("large", "cpu_op", 19, 60),
        ]
    )
    table = timeline(trace)
    lengths = dict(zip(table["operator"], (table["end_s"] - table["start_s"]) * 1e6, strict=True))
    assert lengths == {"small": pytest.approx(9), "large": pytest.approx(60), "(step)": 100}
