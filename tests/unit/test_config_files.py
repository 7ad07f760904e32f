"""Configuration files that cannot be read: a sentence with file and line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from torchmodes.config.files import main, read_file, refuse_results

SWALLOWED = "; --configfile takes every word after it: put the files that you ask for before it"


def test_yaml_and_json_are_read(tmp_path: Path) -> None:
    for text in ("seed: 7\n", '{\n\t"seed": 7\n}\n'):  # JSON may be indented by tabs
        (tmp_path / "mine").write_text(text)
        assert read_file(tmp_path / "mine") == {"seed": 7}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"models:\n  a: {}\n\tb: {}\n", ", line 3: indented with a tab; YAML allows only spaces"),
        (b"models: [\n  1,\n", ", line 3: expected the node content, but found '<stream end>'"),
        (b"seed: 1\nseed 2\nstrict: true\n", ", line 3: could not find expected ':'"),
        (b"seed: 1\nbase: a: b\n", ", line 2: mapping values are not allowed here"),
        (b"seed: 1\nbase: \x07\n", ", line 2: a character that YAML does not allow (0x7)"),
        (b"seed: \xff\n", ": not UTF-8 text (byte 7)"),
        (
            b"seed: 2024-02-30\n",
            ": cannot be read as YAML (ValueError: day is out of range for month)",
        ),
        (b"strict: !!bool maybe\n", ": cannot be read as YAML (KeyError: 'maybe')"),
        (b"", ": empty; it needs at least one key, such as `seed: 42`"),
        (b"# later\n", ": empty; it needs at least one key, such as `seed: 42`"),
        (b"- 1\n", ": not a mapping of sections, such as `seed: 42`"),
        (b"seed\n", ": not a mapping of sections, such as `seed: 42`"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    tmp_path: Path, monkeypatch, content: bytes, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=f"^mine.yaml{re.escape(told)}$"):
        read_file(Path("mine.yaml"))


@pytest.mark.parametrize("brackets", ["[" * 9999, "[" * 9999 + "]" * 9999])
def test_what_is_nested_too_deeply_is_told(tmp_path: Path, brackets: str) -> None:
    (tmp_path / "mine.yaml").write_text(brackets)
    with pytest.raises(ValueError, match=r"mine\.yaml.*(RecursionError|line 1)"):
        read_file(tmp_path / "mine.yaml")


def test_a_file_that_is_not_there_or_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.yaml").mkdir()
    for name, told in {
        "mine.yaml": f"mine.yaml: no such file in {tmp_path}",
        "reports/report.html": f"reports/report.html: no such file in {tmp_path}{SWALLOWED}",
        "all": f"all: no such file in {tmp_path}{SWALLOWED}",
        "folder.yaml": "folder.yaml: Is a directory",
    }.items():
        with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
            read_file(Path(name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch(mode=0)
    with pytest.raises(ValueError, match=r"mine\.yaml: Permission denied"):
        read_file(tmp_path / "mine.yaml")


def test_a_result_is_no_configuration_though_it_can_be_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_results([Path("mine.yaml"), Path("config/results.yaml")])
    with pytest.raises(ValueError, match=r"results/a\.json: a result, not a configuration; --conf"):
        refuse_results([Path("mine.yaml"), Path("results/a.json")])


def test_the_command_reads_what_snakemake_would_and_passes_over_the_rest(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("seed: 1\n")
    words = ["--dry-run", "--config", "seed=7", "strict=true", "--configfile", "mine.yaml"]
    assert main([*words, "--until", "all"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "reports/report.html"]) == 1
    assert capsys.readouterr().err.startswith("Error: reports/report.html: no such file")
    assert main([*words, "--config", "seed=7", "reports/report.html"]) == 1
    assert capsys.readouterr().err == "Error: --config: 'reports/report.html' is not KEY=VALUE\n"
