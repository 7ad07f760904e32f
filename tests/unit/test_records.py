"""Records on disk: whole or not at all, strict JSON, and a clear word about a broken one."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from record_factory import make_record

from torchmodes.planning.cases import parse_case
from torchmodes.results.records import (
    Block,
    CorruptFile,
    Failure,
    Interval,
    Record,
    read_record,
    read_records,
    read_whole_records,
    write_atomically,
    write_record,
)

CASE = "inference/cpu/resnet50/inductor/fp32-b8"
SAMPLED = make_record(
    CASE,
    speed_up=1.2,
    facts={"graphs": 1, "graph_breaks": {"print": 2}},
    warnings=["ten blocks are few"],
)
FAILED = make_record(
    CASE,
    status="failed",
    reason="killed by SIGSEGV",
    remedy="see the log",
    failure=Failure(type="SIGSEGV", message="killed", traceback=None, log="logs/a.log"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "fp32-b8.json"


@pytest.mark.parametrize("record", [SAMPLED, FAILED], ids=lambda record: record.status)
def test_a_record_is_read_as_it_was_written(record, path):
    write_record(record, path)
    assert read_record(path) == record


def test_a_record_knows_its_case():
    assert SAMPLED.identity == parse_case("inference/cpu/resnet50/inductor/fp32-b8")


def test_records_are_sorted_by_case(tmp_path):
    names = ["inference/cpu/b/eager/fp32-b8", "inference/cpu/a/eager/fp32-b16"]
    for number, name in enumerate([*names, "inference/cpu/a/eager/fp32-b8"]):
        write_record(make_record(name, blocks=2), tmp_path / f"{number}.json")
    found = [str(record.identity) for record in read_records(tmp_path.iterdir())]
    assert found == [
        "inference/cpu/a/eager/fp32-b8",
        "inference/cpu/a/eager/fp32-b16",
        "inference/cpu/b/eager/fp32-b8",
    ]


# --- No value is NaN -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_not_finite_is_refused(number):
    with pytest.raises(ValidationError, match="finite"):
        Interval(estimate=number, low=None, high=None)
    with pytest.raises(ValidationError, match="finite"):
        Block(order="BAAB", seconds=(1.0, number, 1.0, 1.0), at_s=0.0)


def test_what_an_engine_tells_is_strict_json_whatever_it_is(path):
    write_record(make_record(CASE, facts={"share": math.nan, "limits": [math.inf, 1.0]}), path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    told = json.loads(path.read_text(), parse_constant=refuse)["facts"]
    assert told == {"share": None, "limits": [None, 1.0]}


def test_a_key_that_no_record_has_is_refused():
    with pytest.raises(ValidationError, match="speedup"):
        Record(**vars(SAMPLED), speedup=1.2)


# --- A broken file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "no JSON at all",
        lambda text: "{}",
        lambda text: text.replace('"ok"', '"okay"'),
        lambda text: text.replace("resnet50", "\udcff"),
    ],
    ids=["empty", "cut", "text", "no keys", "wrong word", "not UTF-8"],
)
def test_a_broken_file_is_named_with_what_to_do(path, damage):
    write_record(SAMPLED, path)
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(CorruptFile, match=r"fp32-b8\.json is not a valid record .*; delete it"):
        read_record(path)


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (2, "was made by a newer torchmodes (its schema is 2, this one reads 1)"),
        (0, "was made by an older torchmodes (its schema is 0, this one reads 1)"),
    ],
)
def test_another_version_is_told_as_such(path, version, told):
    content = json.loads(FAILED.model_dump_json()) | {"schema_version": version, "added": 1}
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFile) as raised:
        read_record(path)
    assert str(raised.value) == (
        f"{path} {told}; read it with that one, or delete it and run snakemake again"
    )


Change = Callable[[dict[str, Any]], object]
SENSELESS: dict[str, tuple[Change, str]] = {
    "no quad": (lambda r: r["samples"]["quads"].clear(), "samples.quads: List should have at"),
    "no time": (lambda r: r["samples"]["quads"][0].update(seconds=[1, 0, 1, 1]), "seconds.1"),
    "ok without figures": (lambda r: r.update(statistics=None), "statistics is missing"),
    "ok without samples": (lambda r: r.update(samples=None, numerics=None), "samples, numerics is"),
    "ok but outside": (lambda r: r["numerics"].update(within_tolerance=False), "outside of toler"),
    "no speed": (lambda r: speed_up(r).update(estimate=0, low=0), "above 0"),
    "negative speed": (lambda r: speed_up(r).update(estimate=-1.2, low=None), "speed_up.estimate"),
    "upside down": (lambda r: speed_up(r).update(low=1.3, high=1.1), "not between its bounds"),
    "impossible p": (lambda r: r["statistics"].update(p_value=1.5), "statistics.p_value"),
    "no reason": (lambda r: r.update(status="failed", remedy="wait"), "reason is missing"),
    "no remedy": (lambda r: r.update(status="wrong", reason="off"), "remedy is missing"),
    "no batch": (lambda r: r["case"].update(batch_size=0), "case.batch_size"),
    "a path as a name": (lambda r: r["case"].update(model="../m"), "case.model"),
}


def speed_up(record: dict[str, Any]) -> dict[str, Any]:
    return record["statistics"]["speed_up"]


@pytest.mark.parametrize("change", SENSELESS)
def test_a_record_that_makes_no_sense_is_none(path, change):
    content = json.loads(SAMPLED.model_dump_json())
    alter, told = SENSELESS[change]
    alter(content)
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    with pytest.raises(CorruptFile, match=r"fp32-b8\.json is not a valid record") as raised:
        read_record(path)
    assert told in str(raised.value)


def test_a_record_at_the_path_of_another_case_is_none(tmp_path):
    copied = tmp_path / SAMPLED.identity.baseline.record
    write_record(SAMPLED, copied)
    with pytest.raises(CorruptFile, match=f"is the record of another case, {CASE}; delete it"):
        read_record(copied)
    elsewhere = tmp_path / "kept.json"
    write_record(SAMPLED, elsewhere)
    assert read_record(elsewhere) == SAMPLED


def put_folder(path: Path) -> None:
    path.mkdir()


def put_loop(path: Path) -> None:
    path.symlink_to(path)


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("put", [put_folder, put_loop, put_pipe])
def test_what_is_no_file_is_named_and_not_waited_for(path, put):
    path.parent.mkdir()
    put(path)
    with pytest.raises(CorruptFile, match=r"fp32-b8\.json (is not a file|cannot be read)"):
        read_record(path)


def test_a_file_that_may_not_be_read_is_named(path, monkeypatch):
    write_record(SAMPLED, path)

    def refuse(_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CorruptFile, match=r"cannot be read \(Permission denied\); delete it"):
        read_record(path)


def test_of_many_the_whole_ones_are_read_and_the_others_named(tmp_path):
    good, bad, gone = (tmp_path / name for name in ("good.json", "bad.json", "gone.json"))
    write_record(SAMPLED, good)
    bad.write_text("{")
    records, unreadable = read_whole_records([bad, gone, good])
    assert records == [SAMPLED]
    assert [one.path for one in unreadable] == [bad, gone]


def test_a_missing_file_is_missing_and_not_broken(path):
    with pytest.raises(CorruptFile, match="is missing; run snakemake again"):
        read_record(path)


# --- Writing is one step ---------------------------------------------------------------------


def test_what_cannot_be_written_leaves_the_old_file_and_no_other(path, monkeypatch):
    write_atomically(path, "old")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_the_file_is_replaced_only_when_the_new_one_is_on_the_disk(path, monkeypatch):
    write_atomically(path, "old")
    seen, synchronise = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (seen.append(path.read_text()), synchronise(fd)))
    write_atomically(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_a_reader_meanwhile_keeps_the_old_content(path):
    write_atomically(path, "old")
    with Path(path).open() as reader:
        write_atomically(path, "new")
        assert reader.read() == "old"


# --- In brief --------------------------------------------------------------------------------


def test_a_failure_in_brief_is_its_case_and_reason():
    assert FAILED.in_brief() == (
        "inference/cpu/resnet50/inductor/fp32-b8  failed: killed by SIGSEGV"
    )


def measured(low, high, **fields):
    record = make_record("inference/cpu/resnet50/inductor/fp32-b8", speed_up=1.2)
    interval = Interval(estimate=80.1, low=low, high=high)
    statistics = record.statistics.model_copy(update={"speed_up": interval})
    return record.model_copy(update={"statistics": statistics, **fields})


def test_a_speed_up_in_brief_is_its_interval_and_verdict():
    told = measured(60.0, 100.0, verdict="faster").in_brief()
    assert told.endswith("fp32-b8  80.100× [60.000, 100.000] faster")


def test_a_speed_up_without_an_interval_says_so_in_brief():
    assert (
        measured(None, None, verdict="unresolved")
        .in_brief()
        .endswith("fp32-b8  80.100× [no interval] unresolved")
    )


@pytest.mark.parametrize("bounds", [(0.0, 1416993372953686016.0), (28.9, 222.0), (0.0, None)])
def test_bounds_that_say_nothing_are_not_printed_but_why_and_what_to_do(bounds):
    told = measured(
        *bounds, verdict="unresolved", no_verdict="too noisy", remedy="stop the others"
    ).in_brief()
    assert told.endswith("fp32-b8  unresolved: too noisy; stop the others")


def test_a_record_from_before_loads_were_judged_is_still_read(tmp_path):
    content = json.loads(make_record("inference/cpu/m/fx/fp32-b8", blocks=3).model_dump_json())
    for part, name in [
        *((content, "no_verdict"), (content["run"], "stopped_s")),
        *((content["cost"], "stolen"), (content["cost"], "cores_missing")),
        *((block, "interrupted") for block in content["samples"]["quads"]),
    ]:
        del part[name]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    old = read_record(path)
    assert old.no_verdict is None
    assert len(old.samples.counted) == 3
