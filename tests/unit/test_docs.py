"""The pages: their links lead somewhere, their YAML is valid, their words are spelt."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from documentation import COMMANDS, MARKS, ROOT, anchors, fences, pages, prose
from snakemake.utils import update_config

from tools.reference import pages as reference_pages
from torchmodes.config import parse_config
from torchmodes.config.run import Config

PAGES = pages()
FENCES = [fence for page in PAGES for fence in fences(page)]
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^(?: {4}|\t)\$? ?(?:\.venv/bin/)?(?:make|snakemake|python|pip|docker) ")


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            assert re.fullmatch(r"https://[\w.-]+(/[^\s<>\"]*)?", link), link
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page.parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors(target.relative_to(ROOT)), f"{page} links to {link}"


def test_every_page_in_docs_is_in_the_index() -> None:
    linked = {link.partition("#")[0] for link in LINK.findall(prose(Path("docs/README.md")))}
    there = {str(page.relative_to("docs")) for page in PAGES if page.parts[0] == "docs"}
    assert there - {"README.md"} <= linked


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_stand_in_fences_whose_marks_are_known(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text(), flags=re.M | re.S)
    for line in text.splitlines():
        assert not COMMAND.match(line), f"{page}: fence this command: {line.strip()}"
    for fence in fences(page):
        assert fence.language, f"{fence.place}: a fence needs a language (sh, text, …)"
        if fence.language in COMMANDS:
            assert set(fence.words) <= MARKS, f"{fence.place}: known marks: {', '.join(MARKS)}"


@pytest.mark.parametrize(
    "fence", [fence for fence in FENCES if fence.language == "yaml"], ids=lambda f: f.place
)
def test_yaml_is_valid_and_a_configuration_where_it_looks_like_one(fence) -> None:
    told = yaml.safe_load(fence.text)
    if not isinstance(told, dict) or next(iter(told)) not in Config.model_fields:
        return
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    update_config(config, copy.deepcopy(told))
    parse_config(config)


@pytest.mark.parametrize(
    "fence", [fence for fence in FENCES if fence.language == "python"], ids=lambda f: f.place
)
def test_python_compiles(fence) -> None:
    compile(fence.text, fence.place, "exec")


@pytest.mark.parametrize("path", [*reference_pages()], ids=str)
def test_the_reference_is_up_to_date(path: Path) -> None:
    written = (ROOT / path).read_text(encoding="utf-8")
    assert written == reference_pages()[path], "run `python -m tools.reference`"


def test_every_module_that_can_be_run_is_in_the_reference() -> None:
    internal = {"torchmodes.processes.supervise", "torchmodes.workloads.operators.compile"}
    text = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    runnable = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")
        for folder in ("torchmodes", "benchmarks", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    for module in runnable - internal:
        assert f"`python -m {module}" in text, module


def test_the_version_is_the_same_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == version
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_words_are_spelt_correctly() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "codespell_lib"], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_messages_in_troubleshooting_are_those_of_the_code() -> None:
    files = [*ROOT.glob("torchmodes/**/*.py"), *ROOT.glob("rules/*.smk"), ROOT / "Makefile"]
    source = "".join(path.read_text(encoding="utf-8") for path in files)
    source = re.sub(r'"\s*f?"|\\\n\s*', "", source)  # strings that go on in the next line
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    # What the code fills in: names and numbers.
    filled = r"…|600 s|\b2 mistakes|cpu$|CUDAExecutionProvider|SIG[A-Z]+"
    for message in re.findall(r"^(?:\||-) `([^`]+)`(?! \(Snakemake\))", text, re.MULTILINE):
        for piece in re.split(filled, message):
            assert piece.strip() in source, f"no code says {piece!r} ({message})"
