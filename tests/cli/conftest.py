"""What every test of the command line needs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backofflock.cli.signals import FORWARDED


@pytest.fixture(autouse=True)
def _no_signal_is_ignored() -> Iterator[None]:
    """Undo what a run in the background or under ``nohup`` ignores, and its children inherit."""
    with ExitStack() as undo:
        for number in FORWARDED:
            if signal.getsignal(number) is signal.SIG_IGN or number == signal.SIGINT:
                heard = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
                undo.callback(signal.signal, number, signal.signal(number, heard))
        yield
