"""``backofflock schedule --output``: a picture, and sentences where there can be none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backofflock.cli import main

TEXTS = ["linear:initial=0.3,take=5", "exponential:initial=0.01,cap=1", "sequence:seconds=()"]
START = {"png": b"\x89PNG\r\n", "svg": b"<?xml "}


def test_the_ending_decides_the_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ending, kind in (("png", "png"), ("SVG", "svg")):
        path = tmp_path / f"chart.{ending}"
        assert main(["schedule", *TEXTS, "--output", str(path)]) == 0
        assert path.read_bytes().startswith(START[kind])
        assert capsys.readouterr().out.endswith(f"drawn into {path}\n")


@pytest.mark.parametrize("more", [[], ["--log"]])
def test_the_same_seed_makes_the_same_file(more: list[str], tmp_path: Path) -> None:
    files = []
    for name, seed in (("one", "1"), ("same", "1"), ("other", "2")):
        path = tmp_path / f"{name}.svg"
        arguments = [*TEXTS, "--json", "--seed", seed, "--output", str(path), *more]
        assert main(["schedule", *arguments]) == 0
        files.append(path.read_bytes())
    assert files[0] == files[1] != files[2]


def test_with_json_only_the_document_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schedule", "spin", "--json", "--output", str(tmp_path / "chart.svg")]) == 0
    out = capsys.readouterr().out
    assert (out[0], out[-2:]) == ("{", "}\n")


@pytest.mark.parametrize("name", ["chart.pdf", "chart", "png", ".png"])
def test_another_ending_gets_a_sentence_that_names_both(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    assert main(["schedule", "spin", "--output", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err) == (
        "",
        f"backofflock: --output must be a file that ends in .png or .svg, not {str(path)!r}\n",
    )
    assert not path.exists()


def test_a_file_that_cannot_be_written_gets_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "missing" / "chart.png"
    assert main(["schedule", "spin", "--output", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"backofflock: --output: there is no directory {str(path.parent)!r}\n"
    path.mkdir(parents=True)
    assert main(["schedule", "spin", "--output", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"backofflock: --output: cannot write {str(path)!r}: Is a directory\n"


WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from backofflock.cli import main
assert main(["schedule", "spin", "--json"]) == 0
sys.exit(main(["schedule", "spin", "--output", "chart.png"]))
"""


def test_without_matplotlib_the_extra_is_named_and_the_rest_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stdout.startswith("{")
    assert done.stderr == (
        "backofflock: --output needs matplotlib, which is not installed: "
        'pip install "backofflock[plot]"\n'
    )
