"""Signals that raise in the middle of an acquire: the key must not be lost."""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

import backofflock
from backofflock import Constant, ThreadBackoffLock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no setitimer")

SOURCES = str(Path(backofflock.__file__).parent)


class Interrupted(Exception):
    """What the signal handler raises, as Ctrl-C raises KeyboardInterrupt."""


def acquire_under_fire(lock: ThreadBackoffLock, enough: int, latest: float) -> tuple[int, int]:
    """Acquire again and again while a timer interrupts; return (interrupted, acquired).

    It ends when both have happened `enough` times, or after 20 seconds.

    The handler raises only while the code of the lock runs: what is interrupted after the lock has
    returned is the caller's to tidy up, of any lock.
    """
    armed = False
    rng = random.Random(1)
    interrupted = acquired = 0

    def interrupt(signum: int, frame: FrameType | None) -> None:
        if armed and frame is not None and frame.f_code.co_filename.startswith(SOURCES):
            raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    end = time.monotonic() + 20.0
    try:
        while min(interrupted, acquired) < enough and time.monotonic() < end:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-6, latest))
            armed = True
            try:
                lock.acquire()
            except Interrupted:
                armed = False
                interrupted += 1
            else:
                armed = False
                acquired += 1
                lock.release()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    return interrupted, acquired


def test_an_interrupted_acquire_of_a_free_lock_leaves_it_free() -> None:
    # Were the key taken by a call, this would lose it within some thousand rounds; all later
    # acquires would then fail at the constructor's limit, and the lock stay locked.
    lock = ThreadBackoffLock(max_attempts=1)
    interrupted, acquired = acquire_under_fire(lock, 2_000, 20e-6)
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0
    assert min(interrupted, acquired) >= 100


def test_an_interrupted_wait_leaves_the_queue_and_not_the_key() -> None:
    lock = ThreadBackoffLock(Constant(0.0001), timeout=5.0)
    stop = threading.Event()

    def keep_it_busy() -> None:
        while not stop.is_set():
            with lock:
                time.sleep(0.00001)

    thread = threading.Thread(target=keep_it_busy)
    thread.start()
    try:
        interrupted, acquired = acquire_under_fire(lock, 300, 1000e-6)
    finally:
        stop.set()
        thread.join(10.0)
    assert not lock.locked()
    assert lock.statistics().tasks_waiting == 0
    assert min(interrupted, acquired) >= 100
