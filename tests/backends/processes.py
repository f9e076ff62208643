"""Workers as the tests see them: real processes, told to act, stopped, and killed by their id."""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["Worker"]

ROOT = Path(__file__).parent.parent.parent
PATIENCE = 60.0


class Worker:
    """One process that runs `tests.backends.worker`."""

    def __init__(self, **options: Any) -> None:
        self.events: list[dict[str, Any]] = []
        """What it has said and somebody has read."""
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.backends.worker", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self._said: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._complaints: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_complaints, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._said.put(json.loads(line))
        self._said.put({"event": "ended"})

    def _read_complaints(self) -> None:
        assert self._process.stderr is not None
        self._complaints.extend(self._process.stderr)

    def next_event(self, limit: float = PATIENCE) -> dict[str, Any]:
        """Wait for what it says next."""
        try:
            event = self._said.get(timeout=limit)
        except queue.Empty:
            raise AssertionError(f"nothing within {limit} s, after {self.events}") from None
        self.events.append(event)
        return event

    def expect(self, event: str, limit: float = PATIENCE) -> dict[str, Any]:
        """Wait for what it says next, which must be `event`."""
        found = self.next_event(limit)
        if found["event"] != event:
            self._process.wait(PATIENCE) if found["event"] == "ended" else None
            raise AssertionError(f"{event} expected, not {found}: {''.join(self._complaints)}")
        return found

    def tell(self, order: str) -> None:
        """Give it an order; a stopped one gets it when it goes on."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill it as the system does: nothing of it runs any more."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> None:
        """Let it stand still, and return when it does."""
        self._process.send_signal(signal.SIGSTOP)
        latest = time.monotonic() + PATIENCE
        while not self._stands_still():
            assert time.monotonic() < latest, "it does not stop"
            time.sleep(0.001)

    def _stands_still(self) -> bool:
        status = Path(f"/proc/{self._process.pid}/stat")
        if not status.exists():  # no Linux: the signal is all there is
            return True
        return status.read_text().rpartition(")")[2].split()[0] == "T"

    def go_on(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Wait for its end, which must be a good one."""
        self.expect("over")
        self.expect("ended")
        assert self._process.wait(PATIENCE) == 0, "".join(self._complaints)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                pass
