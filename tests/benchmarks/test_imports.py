"""``python -m benchmarks.imports``: it measures the import, and says whether the bar is reached."""

from __future__ import annotations

import math
import re

import pytest

from benchmarks import imports

SECONDS = r"-?\d+\.\d ms \(quartiles -?\d+\.\d to -?\d+\.\d ms\)"


@pytest.mark.parametrize(("bar", "said", "status"), [(math.inf, "reached", 0), (-1.0, "missed", 1)])
def test_it_measures_and_compares_with_the_bar(
    bar: float,
    said: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(imports, "BAR", bar)
    assert imports.main(["--rounds", "1", "--check"]) == status
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("CPython 3.")
    assert lines[0].endswith("pairs run: 1")
    assert re.fullmatch(f"import asyncio: {SECONDS}", lines[1])
    assert re.fullmatch(f"import backofflock, beyond that: {SECONDS}", lines[2])
    assert lines[3].endswith(f" ms, {said}")
    assert imports.main(["--rounds", "1"]) == 0  # nobody asked


def test_it_takes_a_round_at_the_least(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        imports.main(["--rounds", "0"])
    assert "--rounds must be at least 1" in capsys.readouterr().err
