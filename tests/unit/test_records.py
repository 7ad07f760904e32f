"""Records on disk: whole or not at all, strict JSON, and a clear word about a broken one."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from torchmodes.cases import parse_case
from torchmodes.records import (
    CorruptRecord,
    Failure,
    Identity,
    Interval,
    Quad,
    Record,
    Run,
    Samples,
    read_record,
    read_records,
    write_atomically,
    write_record,
    write_reserved,
)
from torchmodes.writing import reserve

RUN = Run(
    started_at="2026-01-01T00:00:00.000+00:00",
    finished_at="2026-01-01T00:00:09.000+00:00",
    wall_s=9.0,
    start_method="fork",
    start_s=0.5,
    threads=2,
)


def record_of(case="inference/cpu/resnet50/inductor/fp32-b8", **parts):
    identity = Identity(**parse_case(case).identity())
    return Record(**{"case": identity, "status": "ok", "parameters": {}, "run": RUN} | parts)


SAMPLED = record_of(
    verdict="faster",
    samples=Samples(
        clock="perf_counter",
        calls_per_sample=1,
        quads=[Quad(order="ABBA", seconds=(0.2, 0.1, 0.1 + 1e-17, 1 / 3), at_s=0.0)],
    ),
    facts={"graphs": 1, "graph_breaks": {"print": 2}},
    warnings=["ten quads are few"],
)
FAILED = record_of(
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
        write_record(record_of(name), tmp_path / f"{number}.json")
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
        Quad(order="BAAB", seconds=(1.0, number, 1.0, 1.0), at_s=0.0)


def test_what_an_engine_tells_is_strict_json_whatever_it_is(path):
    write_record(record_of(facts={"share": math.nan, "limits": [math.inf, 1.0]}), path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    told = json.loads(path.read_text(), parse_constant=refuse)["facts"]
    assert told == {"share": None, "limits": [None, 1.0]}


def test_a_key_that_no_record_has_is_refused():
    with pytest.raises(ValidationError, match="speedup"):
        record_of(speedup=1.2)


# --- A broken file ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "no JSON at all",
        lambda text: "{}",
        lambda text: text.replace('"ok"', '"okay"'),
        lambda text: text.replace('"schema_version": 1', '"schema_version": 99'),
        lambda text: text.replace("resnet50", "\udcff"),
    ],
    ids=["empty", "cut", "text", "no keys", "wrong word", "another version", "not UTF-8"],
)
def test_a_broken_file_is_named_with_what_to_do(path, damage):
    write_record(SAMPLED, path)
    path.write_bytes(damage(path.read_text()).encode(errors="surrogateescape"))
    with pytest.raises(CorruptRecord, match=r"fp32-b8\.json is not a valid record .*; delete it"):
        read_record(path)


def test_a_missing_file_is_missing_and_not_broken(path):
    with pytest.raises(FileNotFoundError):
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


def test_the_failure_on_a_full_disk_has_the_environment_of_its_run(path, monkeypatch):
    """The record of a group's A/A case is asked for its machine, however it ended."""

    def fail(_):
        raise OSError(28, "No space left on device")

    environment = {"machine": {"host": "here"}}
    with reserve(path) as reservation:
        monkeypatch.setattr(os, "fsync", fail)
        told = write_reserved(record_of(environment=environment), reservation)
    assert told.status == "failed"
    assert read_record(path) == told
    assert told.environment == environment


# --- In brief --------------------------------------------------------------------------------


def test_a_failure_in_brief_is_its_case_and_reason():
    assert FAILED.in_brief() == (
        "inference/cpu/resnet50/inductor/fp32-b8  failed: killed by SIGSEGV"
    )
