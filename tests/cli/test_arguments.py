"""The arguments: bad values, help, version; and what the command line is built on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import backofflock
from backofflock.cli import main

QUICK = ["--rounds", "1", "--hold", "0.001", "--scale", "0.01"]


BAD = [
    (["--threads", "-1"], "--threads must be a whole number from 0 to 1000, not -1"),
    (["--tasks", "1001"], "--tasks must be a whole number from 0 to 1000, not 1001"),
    (["--threads", "0", "--tasks", "0"], "--threads and --tasks must not both be 0"),
    (["--threads", "two"], "'--threads'"),
    (["--tasks", "1.5"], "'--tasks'"),
    (["--rounds", "0"], "--rounds must be a whole number from 1 to"),
    (["--hold", "-0.1"], "--hold must be a number of seconds from 0 to 3600, not -0.1"),
    (["--hold", "nan"], "--hold must be a number of seconds from 0 to 3600, not nan"),
    (["--hold", "inf"], "--hold must be a number of seconds from 0 to 3600, not inf"),
    (["--hold", "long"], "'--hold'"),
    (["--scale", "0"], "--scale must be a number of seconds above 0"),
    (["--scale", "-1"], "--scale must be a number of seconds above 0"),
    (["--scale", "nan"], "--scale must be a number of seconds above 0"),
    (["--scale", "1e9"], "--scale must be a number of seconds above 0, at most 3600"),
    (["--seed", "x"], "'--seed'"),
    (["--only", "liner"], "did you mean 'linear'?"),
    (["--only", "linear", "--only", ""], "no system ''"),
    (["--only"], "--only"),
    (["--list", "--json"], "exclude each other"),
    (["--frobnicate"], "--frobnicate"),
    (["surplus"], "surplus"),
]


@pytest.mark.parametrize(
    ("arguments", "sentence"), BAD, ids=[" ".join(arguments) for arguments, _ in BAD]
)
def test_a_bad_value_gets_one_sentence_and_status_2(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("backofflock: ")
    assert sentence in err
    assert err.count("\n") == 1


def test_an_unknown_command_gets_one_sentence_and_status_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["dmeo"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "'dmeo'" in err


def test_without_a_command_the_help_is_shown_and_the_status_is_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    assert re.search(r"^\s+demo\s+Run every kind", capsys.readouterr().out, re.MULTILINE)


def test_the_help_of_the_demo_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--help"]) == 0
    examples = re.findall(r"^ +backofflock (demo.*)$", capsys.readouterr().out, re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        arguments = example.split(" > ")[0].split()
        assert main([*arguments, *QUICK]) == 0, example


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"backofflock {backofflock.__version__}\n"


def test_the_command_line_uses_the_public_package_only() -> None:
    import backofflock.cli

    folder = Path(backofflock.cli.__file__).parent
    files = sorted(folder.glob("*.py"))
    assert len(files) > 5
    private = re.compile(
        r"^\s*(?:from|import)\s+(?:\.\.+\s*\w*|backofflock\.(?!cli\b))", re.MULTILINE
    )
    assert [file.name for file in files if private.search(file.read_text("utf-8"))] == []
