"""Reading a table with its faults, splitting it, statistics, tensors."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from torchmodes.workloads.training.dataset import (
    TableStatistics,
    fit_statistics,
    fit_table,
    load_statistics,
    load_tensors,
    read_table,
    save_statistics,
    save_training_stats,
    split_indices,
)
from torchmodes.workloads.training.generate import generate_housing, write_housing
from torchmodes.workloads.training.table import FaultyTable

HEADER = "Income,Address,Rooms,Price"
FEATURES = ["Income", "Rooms"]
SHARES = {"validation": 0.1, "test": 0.2, "seed": 7}


def row(number: int, *, income: str = "", address: str = "", rooms: str = "") -> str:
    """One record: as in real tables, the address spans two lines."""
    income = income or f"{50_000 + 1000 * number}.5"
    address = address or f'"{number} Main St. Apt. 6,\nLake ""K"", CA 48958"'
    return f"{income},{address},{rooms or number % 7},{1e5 + 2e3 * number}"


def rows(count: int = 30) -> list[str]:
    return [row(number) for number in range(count)]


@pytest.fixture
def write(tmp_path):
    def write(lines: list[str], *, end: str = "\n", encoding: str = "utf-8") -> Path:
        path = tmp_path / "homes.csv"
        text = "\n".join(lines) + "\n"
        path.write_bytes(text.replace("\n", end).encode(encoding))
        return path

    return write


def read(path: Path) -> pd.DataFrame:
    return read_table(path, features=FEATURES, target="Price")


def fault(path: Path, **columns) -> str:
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read_table(path, **{"features": FEATURES, "target": "Price"} | columns)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


# --- reading


def test_only_the_columns_asked_for_are_read_in_the_order_asked(write):
    path = write([HEADER, *rows()])
    frame = read_table(path, features=["Rooms", "Income"], target="Price")
    assert list(frame.columns) == ["Rooms", "Income", "Price"]
    assert set(frame.dtypes) == {np.dtype("float64")}
    assert len(frame) == 30
    assert frame.iloc[1].tolist() == [1.0, 51_000.5, 102_000.0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
def test_byte_order_mark_line_ends_and_blank_lines_do_not_matter(write, encoding, end):
    plain = read(write([HEADER, *rows()]))
    other = read(write(["", HEADER, *rows(), "", ""], end=end, encoding=encoding))
    pd.testing.assert_frame_equal(other, plain)


def test_spaces_around_numbers_and_exponents_are_read(write):
    frame = read(write([HEADER, *rows(), row(1, income=" 1e3 ", rooms='" 2"')]))
    assert frame.iloc[-1].tolist()[:2] == [1000.0, 2.0]


# --- faults of the file


def test_missing_file_and_folder(tmp_path):
    message = fault(tmp_path / "none.csv")
    assert message.startswith("FILE: no such file in ")
    assert message.endswith("data.source must name a CSV file")
    assert fault(tmp_path).startswith("FILE: is a folder")


@pytest.mark.parametrize("lines", [[], ["", ""]], ids=["empty", "blank"])
def test_empty_file(write, lines):
    assert fault(write(lines)) == (
        "FILE: the file is empty; it needs a header line and rows below it"
    )


def test_too_few_rows(write):
    assert "has no rows below its header" in fault(write([HEADER]))
    assert "has only 1 row; at least 20" in fault(write([HEADER, *rows(1)]))
    assert "has only 19 rows; at least 20" in fault(write([HEADER, *rows(19)]))
    assert len(read(write([HEADER, *rows(20)]))) == 20


def test_wrong_encoding_names_line_and_byte(write):
    lines = [HEADER, *rows(), row(30, address="Café")]
    message = fault(write(lines, encoding="latin-1"))
    position = "\n".join(lines).encode("latin-1").index(b"\xe9")
    assert message.startswith(f"FILE, line 62: byte {position} (0xe9) is not UTF-8;")
    assert "Windows-1252" in message
    assert "UTF-16: save it as UTF-8" in fault(write(lines, encoding="utf-16"))


# --- faults of the header


def test_missing_column_says_what_was_meant_and_what_there_is(write):
    path = write([HEADER, *rows()])
    message = fault(path, features=["Income", "Romms"])
    assert message.startswith(
        "FILE, line 1: has no column 'Romms'; did you mean 'Rooms'? "
        "The columns are Income, Address, Rooms, Price"
    )
    nothing_alike = fault(path, features=["xyz"])
    assert nothing_alike.endswith("no column 'xyz'; known: Income, Address, Rooms, Price")
    assert "no column 'price'; did you mean 'Price'?" in fault(path, target="price")


def test_another_separator_is_recognised(write):
    message = fault(write([HEADER.replace(",", ";"), "1;a;2;3"]))
    assert message.endswith("its fields are separated by ';': save it with commas")


def test_repeated_column_name_matters_only_where_it_is_used(write):
    lines = [HEADER + ",Rooms,Note,Note", *[f"{line},1,a,b" for line in rows()]]
    path = write(lines)
    assert "2 columns are called 'Rooms'" in fault(path)
    assert len(read_table(path, features=["Income"], target="Price")) == 30


def test_target_among_the_features():
    with pytest.raises(ValueError, match=r"data\.target: 'Price' stands among data\.features"):
        read_table(Path("homes.csv"), features=["Income", "Price"], target="Price")


# --- faults of a value: the true line of the file


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("five", "'five' is not a number"),
        ("$5", "'$5' is not a number"),
        ("1_000", "'1_000' is not a number"),
        ('"1,000"', "'1,000' is not a number"),
        (" ", "the value is missing"),
        ("NA", "the value is missing"),
        ("nan", "'nan' is not a finite number"),
        ("-inf", "'-inf' is not a finite number"),
        ("1e999", "'1e999' is not a finite number"),
        ("9" * 5000, f"'{'9' * 60}'… is not a finite number; correct"),
        ("x" * 5000, f"'{'x' * 60}'… is not a number; write"),
    ],
)
def test_a_bad_value_is_located_by_line_and_column(write, text, told):
    # Header, then 10 records of two lines each: the eleventh begins on line 22. Its rooms stand
    # behind the line end in its address, on line 23.
    lines = [HEADER, *rows()]
    before = fault(write([*lines[:11], row(10, income=text), *lines[12:]]))
    assert before.startswith(f"FILE, line 22, column 'Income': {told}")
    behind = fault(write([*lines[:11], row(10, rooms=text), *lines[12:]]))
    assert behind.startswith(f"FILE, line 23, column 'Rooms': {told}")
    windows = fault(write([*lines[:11], row(10, rooms=text), *lines[12:]], end="\r\n"))
    assert windows == behind


@pytest.mark.parametrize(("change", "count"), [(lambda r: r + ",9", 5), (lambda r: "1,2,3", 3)])
def test_ragged_row(write, change, count):
    lines = [HEADER, *rows()]
    lines[5] = change(lines[5])
    assert fault(write(lines)).startswith(f"FILE, line 10: {count} fields, where the header has 4;")


@pytest.mark.parametrize("after", [19, 0], ids=["midway", "last"])
def test_unclosed_quote_is_located_where_its_record_begins(write, after):
    lines = [HEADER, *rows(10), row(10, address='"11 Main St.'), *rows(after)]
    message = fault(write(lines))
    assert message.startswith("FILE, line 22: the record that begins here cannot be read")
    assert 'a quote (") opened and not closed' in message


def test_constant_column(write):
    lines = [HEADER, *(row(number, rooms="3") for number in range(30))]
    assert fault(write(lines)) == (
        "FILE: column 'Rooms' is constant (every value is 3) and holds no information; "
        "take it out of data.features"
    )


def test_every_column_that_cannot_be_used_is_told_at_once(write):
    lines = [f"{n % 2 * 2e307 - 1e307},a,3,{(-1) ** n * 1e308}" for n in range(30)]
    with pytest.raises(FaultyTable) as caught:
        read(write([HEADER, *lines]))
    beyond = "and squares of their differences are beyond what a number holds; use another unit, or"
    assert caught.value.faults == [
        (
            "column 'Income' cannot be scaled: its values reach from -1e+307 to 1e+307,"
            f" {beyond} take it out of data.features"
        ),
        (
            "column 'Rooms' is constant (every value is 3) and holds no information;"
            " take it out of data.features"
        ),
        (
            "column 'Price' cannot be scaled: its values reach from -1e+308 to 1e+308,"
            f" {beyond} choose another target"
        ),
    ]
    assert "homes.csv has 3 faults:\n  column 'Income' cannot" in str(caught.value)


@pytest.mark.parametrize("unit", [1e39, 1e140, 1e-140], ids="{:g}".format)
def test_units_beyond_single_precision_do_not_matter(write, tmp_path, unit):
    table = write([HEADER, *(f"{n * unit},a,{n % 7},{n**2 * unit}" for n in range(60))])
    fitted = fit_table(table, features=FEATURES, target="Price", **SHARES)
    save_statistics(fitted, tmp_path / "statistics.json")
    tensors = load_tensors(table, tmp_path / "statistics.json", device="cpu")
    for tensor in (tensors.x_train, tensors.y_train):
        torch.testing.assert_close(tensor.std(0, correction=0), torch.ones(tensor.shape[1]))


@pytest.mark.parametrize("unit", [1e155, 1e-155], ids="{:g}".format)
def test_units_whose_squares_no_number_holds_are_refused(write, unit):
    path = write([HEADER, *(f"{n * unit},a,{n % 7},{n}" for n in range(30))])
    assert fault(path).startswith(
        "FILE: column 'Income' cannot be scaled: its values reach from 0 "
    )


# --- the kinds of file that are taken for a table


def content() -> bytes:
    return "\n".join([HEADER, *rows()]).encode()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: zipped({"homes.csv": data}),
        lambda data: zipped({"homes.csv": data, "__MACOSX/homes.csv": b"x"}),
    ],
    ids=["gzip", "bzip2", "xz", "zip", "zip of a Mac"],
)
def test_a_compressed_file_is_read_whatever_its_name(write, pack):
    path = write([HEADER, *rows()])
    plain = read(path)
    path.write_bytes(pack(content()))
    pd.testing.assert_frame_equal(read(path), plain)
    path.write_bytes(pack(content())[:60])
    assert re.match("FILE: is (broken|a zip archive that cannot be unpacked)", fault(path))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            zipped({"[Content_Types].xml": b"", "xl/workbook.xml": b""}),
            "FILE: is a workbook or a document; save the sheet as CSV (UTF-8)",
        ),
        (
            zipped({"a.csv": b"", "b.csv": b""}),
            "FILE: is a zip archive of a.csv, b.csv; unpack it, and name one file",
        ),
        (
            b"PAR1\x15\x04",
            "FILE: is a Parquet file; write it as CSV (pandas: read_parquet, to_csv)",
        ),
        (b"\xd0\xcf\x11\xe0", "FILE: is a workbook of an old Excel; save the sheet as CSV (UTF-8)"),
        (b"(\xb5/\xfd\x04", "FILE: is compressed by Zstandard; unpack it, or compress it by gzip"),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "FILE: is a page of HTML or XML; get the CSV file itself",
        ),
        (
            b"version https://git-lfs.example/spec/v1\noid sha256:1",
            "FILE: is a pointer of Git LFS; get the file itself by `git lfs pull`",
        ),
        (b'[{"Income": 1}]', "FILE: is JSON; write it as CSV (pandas: read_json, to_csv)"),
        (
            "Income,Price".encode("utf-16-le"),
            (
                "FILE, line 1: byte 1 (0x00) is no character;"
                " the file looks like UTF-16: save it as UTF-8"
            ),
        ),
        (
            b"Income,Price\n1,\0",
            "FILE, line 2: byte 15 (0x00) is no character; the file looks like no text at all",
        ),
    ],
)
def test_a_file_that_is_no_csv_is_told_by_what_it_is(tmp_path, data, told):
    path = tmp_path / "homes.csv"
    path.write_bytes(data)
    assert fault(path) == told


def test_names_in_angle_or_square_brackets_are_no_html_and_no_json(write):
    path = write(["<Income>,[Rooms],{Price}", *(f"{n},{n % 7},{n**2}" for n in range(30))])
    assert len(read_table(path, features=["<Income>", "[Rooms]"], target="{Price}")) == 30
    path = write(["[Income],Rooms,Price", *(f"{n},{n % 7},{n**2}" for n in range(30))])
    assert len(read_table(path, features=["[Income]", "Rooms"], target="Price")) == 30


# --- what other programs write


def test_excels_line_about_the_separator_is_no_header(write):
    plain = read(write([HEADER, *rows()]))
    for first in ("sep=,", '"sep=,"', "SEP=,"):
        pd.testing.assert_frame_equal(read(write([first, HEADER, *rows()])), plain)
    told = fault(write(["sep=,", HEADER, *rows(5), row(5, income="x")]))
    assert told.startswith("FILE, line 13, column 'Income': 'x' is not a number")


def test_spaces_around_the_names_of_columns_do_not_count(write):
    plain = read(write([HEADER, *rows()]))
    pd.testing.assert_frame_equal(read(write([" Income, Address ,Rooms ,Price", *rows()])), plain)


PLAIN = [f"{n}.5,{n % 7},{n**2}" for n in range(5, 35)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (
            ["Income,Rooms,Price", *(f"{line}," for line in PLAIN)],
            (
                "line 2: 4 fields, where the header has 3; every row ends with a comma,"
                " and the header does not: take them off"
            ),
        ),
        (
            ["Income,Rooms,Price", *PLAIN, PLAIN[0] + ","],
            "line 32: 4 fields, where the header has 3; it ends with a comma too many",
        ),
        (
            ['"Income","Rooms","Price"', *(f'"{n}",{line}' for n, line in enumerate(PLAIN, 1))],
            (
                "line 2: 4 fields, where the header has 3; is the first one the name of the row,"
                " as R writes it? Name that column too, or write the table without"
                " (row.names = FALSE)"
            ),
        ),
        (
            ["Income,Rooms,Price", *(f"Town {n},{line}" for n, line in enumerate(PLAIN))],
            (
                "line 2: 4 fields, where the header has 3; is the first one the name of the row,"
                " as R writes it? Name that column too, or write the table without"
                " (row.names = FALSE)"
            ),
        ),
        (
            ["Income,Rooms,Price", *(line.replace(".", ",") for line in PLAIN)],
            (
                "line 2: 4 fields, where the header has 3; quote fields that contain commas,"
                " and write decimal points"
            ),
        ),
        (
            ["Income,Rooms,Price", *PLAIN, ",,"],
            "line 32: every field is empty; remove the row",
        ),
        (
            [",,", "Income,Rooms,Price", *PLAIN],
            "line 1: every field is empty; remove the lines above the names of the columns",
        ),
        (
            ["Income,Rooms,Price", *PLAIN, "Income, Rooms,Price", *PLAIN],
            "line 32: the header stands here once more; remove the line",
        ),
        (
            ["# from the survey", "Income,Rooms,Price", *PLAIN],
            (
                "line 1: has no column 'Income', 'Rooms', 'Price'; it begins with '#':"
                " remove comments, the first line names the columns"
            ),
        ),
        (
            ["Income,Rooms,Price", *PLAIN, "# end"],
            "line 32: it begins with '#': remove comments, a CSV file has none",
        ),
        (
            PLAIN,
            (
                "line 1: has no column 'Income', 'Rooms', 'Price'; known: 5.5, 5, 25."
                " Is it a row of data? Then a line with the names of the columns is missing above"
            ),
        ),
        (
            ["income,ROOMS,Prices", *PLAIN],
            (
                "line 1: has no column 'Income', 'Rooms', 'Price'; did you mean 'income' for"
                " 'Income', 'ROOMS' for 'Rooms', 'Prices' for 'Price'?"
                " The columns are income, ROOMS, Prices"
            ),
        ),
        (
            ['"Income";"Rooms";"Price"', *(line.replace(",", ";") for line in PLAIN)],
            "line 1: its fields are separated by ';': save it with commas",
        ),
        (
            ["Income;Rooms;Price", *(line.replace(",", ";").replace(".", ",") for line in PLAIN)],
            "line 1: its fields are separated by ';': save it with commas and decimal points",
        ),
        (
            ["Income, net;Rooms;Price", *(line.replace(",", ";") for line in PLAIN)],
            "line 1: its fields are separated by ';': save it with commas",
        ),
        (
            ["sep=;", "Income;Rooms;Price", *(line.replace(",", ";") for line in PLAIN)],
            "line 2: its fields are separated by ';': save it with commas",
        ),
        (
            ["Income\tRooms\tPrice", *(line.replace(",", "\t") for line in PLAIN)],
            "line 1: its fields are separated by '\\t': save it with commas",
        ),
        (
            ["Income Rooms Price", *(line.replace(",", " ") for line in PLAIN)],
            "line 1: its fields are separated by ' ': save it with commas",
        ),
    ],
)
def test_what_other_programs_write_gets_the_hint_that_helps(write, lines, told):
    assert fault(write(lines)) == f"FILE, {told}"


def test_the_first_fault_of_every_column_is_told(write):
    lines = [HEADER, *rows()]
    lines[11], lines[13] = row(10, income="$5"), row(12, income="$7", rooms="7 %")
    with pytest.raises(FaultyTable) as caught:
        read(write(lines))
    assert [told.partition(";")[0] for told in caught.value.faults] == [
        "line 22, column 'Income': '$5' is not a number",
        "line 27, column 'Rooms': '7 %' is not a number",
    ]


# --- split


def test_split_covers_every_row_once():
    split = split_indices(1003, validation=0.1, test=0.2, seed=7)
    assert (len(split.train), len(split.validation), len(split.test)) == (702, 100, 201)
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together) == list(range(1003))


def test_split_follows_the_seed():
    split = split_indices(12, validation=0.25, test=0.25, seed=42)
    again = split_indices(12, validation=0.25, test=0.25, seed=42)
    other = split_indices(12, validation=0.25, test=0.25, seed=43)
    assert split.train.tolist() == again.train.tolist() != other.train.tolist()


def test_a_split_that_leaves_a_part_empty_is_refused():
    with pytest.raises(ValueError, match=r"leave 1 of 30 rows for test; each part needs 2"):
        split_indices(30, validation=0.1, test=0.03, seed=0)
    with pytest.raises(ValueError, match=r"leave 0 of 30 rows for training"):
        split_indices(30, validation=0.7, test=0.5, seed=0)


# --- statistics and tensors


@pytest.fixture
def table(write) -> Path:
    return write([HEADER, *rows(60)])


@pytest.fixture
def fitted(table) -> TableStatistics:
    return fit_table(table, features=FEATURES, target="Price", **SHARES)


def test_statistics_come_from_the_training_split_alone(table, fitted):
    frame = read(table)
    split = split_indices(len(frame), **SHARES)
    train = frame.iloc[split.train]
    for column in (*fitted.features, fitted.target):
        assert column.mean == pytest.approx(train[column.name].mean())
        assert column.standard_deviation == pytest.approx(train[column.name].std(ddof=0))
        assert (column.minimum, column.maximum) == (
            train[column.name].min(),
            train[column.name].max(),
        )
    frame.iloc[np.concatenate([split.validation, split.test])] = 1e9
    assert fit_statistics(frame, split.train) == (*fitted.features, fitted.target)


def test_a_column_constant_in_the_training_split_is_refused():
    frame = pd.DataFrame({"a": [1.0, 1.0, 1.0, 5.0]})
    with pytest.raises(ValueError, match="column 'a' is constant over the 3 training rows"):
        fit_statistics(frame, np.arange(3))
    with pytest.raises(ValueError, match="cannot be scaled"):
        fit_statistics(pd.DataFrame({"a": [1e308, -1e308]}), np.arange(2))


def test_statistics_survive_json_to_the_last_digit(fitted, tmp_path):
    path = tmp_path / "new" / "statistics.json"
    save_statistics(fitted, path)
    assert load_statistics(path) == fitted


@pytest.mark.parametrize(
    ("figure", "value", "told"),
    [
        ("mean", "68,599", "should be a valid number"),
        ("maximum", None, "should be a valid number"),
        ("minimum", float("nan"), "should be a finite number"),
        ("standard_deviation", 0, "should be greater than 0"),
    ],
)
def test_statistics_with_a_figure_that_cannot_be_are_refused(fitted, tmp_path, figure, value, told):
    fields = asdict(fitted)
    fields["features"][1][figure] = value
    path = tmp_path / "statistics.json"
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=rf"features\.1\.{figure}: {told}"):
        load_statistics(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": [], "target": {"name": "x"}}'])
def test_other_json_is_refused_by_name(tmp_path, text):
    path = tmp_path / "statistics.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"statistics\.json: these are no statistics of a table"):
        load_statistics(path)


def test_missing_statistics_say_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match=r"no such file; `snakemake --cores 4 "):
        load_statistics(tmp_path / "statistics.json")


def test_units_are_known_for_the_housing_table_only(tmp_path, fitted):
    assert fitted.target.unit is None
    path = tmp_path / "housing.csv"
    frame = generate_housing(rows=100, seed=0)
    write_housing(frame, path)
    housing = fit_table(path, features=list(frame)[:-1], target="Price", **SHARES)
    assert housing.target.unit == "dollars"


def test_tensors_are_z_scores(table, fitted, tmp_path):
    save_statistics(fitted, tmp_path / "statistics.json")
    tensors = load_tensors(table, tmp_path / "statistics.json", device="cpu")
    shapes = {name: tuple(tensor.shape) for name, tensor in vars(tensors).items()}
    assert shapes == {
        "x_train": (42, 2),
        "y_train": (42, 1),
        "x_validation": (6, 2),
        "y_validation": (6, 1),
        "x_test": (12, 2),
        "y_test": (12, 1),
    }
    assert {tensor.dtype for tensor in vars(tensors).values()} == {torch.float32}
    assert all(tensor.is_contiguous() for tensor in vars(tensors).values())
    for train in (tensors.x_train, tensors.y_train):
        torch.testing.assert_close(train.mean(0), torch.zeros(train.shape[1]), atol=1e-6, rtol=0)
        torch.testing.assert_close(train.std(0, correction=0), torch.ones(train.shape[1]))
    frame = read(table)
    split = split_indices(len(frame), **SHARES)
    dollars = fitted.target_from_z(tensors.y_test)
    assert dollars.flatten().tolist() == pytest.approx(frame["Price"].iloc[split.test].tolist())


def test_predictions_in_half_precision_come_back_in_dollars_unrounded(fitted):
    z = torch.tensor([0.5], dtype=torch.bfloat16, requires_grad=True)
    dollars = 0.5 * fitted.target.standard_deviation + fitted.target.mean
    assert fitted.target_from_z(z).item() == pytest.approx(dollars, rel=1e-12)
    assert fitted.target_from_z(0.5) == pytest.approx(dollars, rel=1e-12)
    assert fitted.target_from_z(np.array([0.5])) == pytest.approx(dollars, rel=1e-12)


def test_statistics_of_another_table_are_refused(table, fitted, tmp_path):
    save_statistics(fitted, tmp_path / "statistics.json")
    table.write_text(table.read_text().replace("50000.5", "50000.6"))
    with pytest.raises(ValueError, match="describes another table than"):
        load_tensors(table, tmp_path / "statistics.json", device="cpu")


def test_training_stats_load_without_unpickling_code(fitted, tmp_path):
    save_training_stats(fitted, tmp_path / "training_stats.pt")
    stats = torch.load(tmp_path / "training_stats.pt", weights_only=True)
    assert stats["features"] == FEATURES
    assert stats["target"] == "Price"
    assert stats["x_mean"].tolist() == [column.mean for column in fitted.features]
    assert stats["x_std"].tolist() == [column.standard_deviation for column in fitted.features]
    assert stats["y_max"].tolist() == [asdict(fitted)["target"]["maximum"]]
    assert stats["table_sha256"] == fitted.table_sha256
