"""How a thread is stopped before an opcode: `sys.monitoring`, and ``sys.settrace`` on Python 3.11.

Both call ``step(place, writes)`` before each point. Monitoring is told once and for all where the
points are not, so that the other opcodes run at full speed. Python 3.12 has ``f_trace_opcodes`` as
well, but there a frame that sets it may miss its own opcodes, or end the interpreter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from .points import Points

__all__ = ["Tracer"]

Step = Callable[[str, bool], None]

if sys.version_info >= (3, 12):
    from sys import monitoring

    class Tracer:
        """Stops all threads at the points, from `install` to `remove`."""

        TOOL = 4  # none of the numbers that debuggers, coverage and profilers go by

        def __init__(self, points: Points, step: Step) -> None:
            self._points = points
            self._step = step
            self._codes: list[CodeType] = []

        def install(self) -> None:
            """Begin, for all threads."""
            monitoring.use_tool_id(self.TOOL, "tests.preemption")
            event = monitoring.events.INSTRUCTION
            monitoring.register_callback(self.TOOL, event, self._on_instruction)
            monitoring.restart_events()
            # All at once, while nobody runs them.
            self._codes = self._points.codes()
            for code in self._codes:
                monitoring.set_local_events(self.TOOL, code, event)

        def remove(self) -> None:
            """End, for all threads."""
            for code in self._codes:
                monitoring.set_local_events(self.TOOL, code, 0)
            monitoring.register_callback(self.TOOL, monitoring.events.INSTRUCTION, None)
            monitoring.free_tool_id(self.TOOL)

        def begin(self) -> None:
            """Begin, for this thread, and keep others such as coverage from tracing it."""
            sys.settrace(None)

        def end(self) -> None:
            """End, for this thread."""

        def _on_instruction(self, code: CodeType, offset: int) -> object:
            touch = self._points.of(code).get(offset)
            if touch is None:
                return monitoring.DISABLE
            self._step(*touch)
            return None

else:

    class Tracer:
        """Stops a thread at the points, from its `begin` to its `end`."""

        def __init__(self, points: Points, step: Step) -> None:
            self._points = points
            self._step = step

        def install(self) -> None:
            """Begin, for all threads."""

        def remove(self) -> None:
            """End, for all threads."""

        def begin(self) -> None:
            """Begin, for this thread; anew each time: one that raises is taken away."""
            sys.settrace(self._on_call)

        def end(self) -> None:
            """End, for this thread."""
            sys.settrace(None)

        def _on_call(self, frame: FrameType, event: str, arg: object) -> Any:
            points = self._points.of(frame.f_code)
            if not points:
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            touch_at, step = points.get, self._step

            def on_opcode(frame: FrameType, event: str, arg: object) -> Any:
                touch = touch_at(frame.f_lasti)
                if touch is not None and event == "opcode":
                    step(*touch)
                return on_opcode

            return on_opcode
