"""Where a preemption can make a difference: the opcodes that touch what threads share.

Two opcodes of two threads commute unless both touch the same place and one of them writes. So a
thread that is preempted before an opcode that touches nothing shared might as well be preempted
before the next one that does: every order of the shared accesses is reached by preempting before
these alone. What counts as shared is found in the source, and wide rather than narrow:

- the attributes that are stored anywhere outside of a constructor. The others (`queue`, `key`,
  `window`, methods …) never change once another thread can see their object. Constructors have no
  points for the same reason: nobody else sees the object yet;
- what is inside of a deque, list or dict, and whether it is empty: subscripts, truth tests of
  anything but the result of a comparison or call, iteration, built-in functions such as ``len()``,
  the methods named in `METHODS`. A call is stopped where its function is loaded: until the call
  only locals, constants and what never changes are;
- locks, naps and the clock, which the scheduler itself stands in for.

Left out are `OWN`, what only one thread ever touches, and `COUNTERS`.
"""

from __future__ import annotations

import builtins
import dis
import gc
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import backofflock

__all__ = ["BEYOND", "BUILT_IN", "INSIDE", "METHODS", "TIME", "Points", "Touch"]

Touch = tuple[str, bool]
"""A place, and whether it is written."""

BOX = "box"
"""The place of all containers, the key and the queue among them, and of who is woken and when it is
late: one place, so that plans which count as equal agree on how many wake-ups are on their way."""

TIME = "time"
"""The place of the clock and of everything that lets a thread nap or ends its nap."""

INSIDE = "inside"
"""The place of who is inside."""

OWN = frozenset(
    {
        # Of a waiter; others read its since, ticket, window, pledge and woken_at, not these.
        "attempt",
        "deadline",
        # Of a loop's waiters and alarm, in the thread of the loop only.
        "resting",
        "_nap",
        "_heap",
        "_purge_at",
        "_timer",
        "_watched",
        "watches",
        # Of a doorbell, changed by the collector when nobody has it.
        "_descriptor",
        # Of an iterator of attempts and its attempts: one thread steps them.
        "_attempt",
        "_over",
        "_policy",
        "_to_enter",
        "_waiter",
        "acquired",
        "delay",
    }
)
COUNTERS = frozenset(
    {
        # Nothing but statistics() reads them.
        "cancellations",
        "contended",
        "longest_wait",
        "timeouts",
        "total_wait",
        "tries",
        "wakeups",
    }
)

METHODS: dict[str, Touch] = {
    "get": (BOX, False),
    "append": (BOX, True),
    "appendleft": (BOX, True),
    "clear": (BOX, True),
    "insert": (BOX, True),
    "pop": (BOX, True),
    "popleft": (BOX, True),
    "remove": (BOX, True),
    "next_ticket": ("next_ticket", True),
    "acquire": (TIME, True),
    "release": (TIME, True),
    "_locked": (TIME, False),
    "call_soon_threadsafe": (TIME, True),
    "eventfd_write": (TIME, True),
    "eventfd_read": (TIME, True),
    "call_later": (TIME, False),
}
OPCODES: dict[str, Touch] = {
    "BINARY_SUBSCR": (BOX, False),
    "STORE_SUBSCR": (BOX, True),
    "DELETE_SUBSCR": (BOX, True),
    "CONTAINS_OP": (BOX, False),
    "GET_ITER": (BOX, False),
    "FOR_ITER": (BOX, False),
}
BUILT_IN = frozenset(
    name
    for name, each in vars(builtins).items()
    if callable(each) and not (isinstance(each, type) and issubclass(each, BaseException))
) - {"isinstance", "property", "staticmethod", "super", "type"}
BEYOND = frozenset(
    {
        "_instrument",
        "_schedule_text",
        "backends",
        "cli",
        "distributed",
        "instrumentation",
        "simulation",
        "testing",
    }
)
"""Packages and modules of code that no scenario runs."""

PLACES = {"promise": BOX, "woken_at": BOX}


class Points:
    """The points of all code in some files, by code object and offset."""

    def __init__(self, files: Iterable[Path] = (), *, every_opcode: bool = False) -> None:
        package = Path(backofflock.__file__).parent
        modules = package.rglob("*.py")
        ours = [
            path
            for path in modules
            if BEYOND.isdisjoint(path.relative_to(package).with_suffix("").parts)
        ]
        self.files = {str(path) for path in [*ours, *files]}
        self._every_opcode = every_opcode
        stored = {name for path in self.files for name in _stored_in(Path(path))}
        self.shared = stored - OWN - COUNTERS
        # By identity, for a code object's hash goes through all of its opcodes.
        self._known: dict[int, tuple[CodeType, dict[int, Touch]]] = {}

    def of(self, code: CodeType) -> dict[int, Touch]:
        """Return the points of a code object, none for code that is not ours."""
        try:
            return self._known[id(code)][1]
        except KeyError:
            points = {}
            if code.co_filename in self.files and code.co_name not in {"__init__", "<module>"}:
                points = dict(self._points(code))
            self._known[id(code)] = code, points
            return points

    def codes(self) -> list[CodeType]:
        """Return all code objects that have points, of functions that exist by now."""
        pending = [each.__code__ for each in gc.get_objects() if isinstance(each, FunctionType)]
        found: dict[int, CodeType] = {}
        while pending:
            code = pending.pop()
            if code.co_filename in self.files and id(code) not in found:
                found[id(code)] = code
                pending.extend(const for const in code.co_consts if isinstance(const, CodeType))
        return [code for code in found.values() if self.of(code)]

    def _points(self, code: CodeType) -> Iterator[tuple[int, Touch]]:
        before = ""
        start = None  # an opcode with a long argument begins at its prefix
        for opcode in dis.get_instructions(code):
            if start is None:
                start = opcode.offset
            if opcode.opname in {"EXTENDED_ARG", "CACHE"}:
                continue
            touch = self._touch(opcode, before)
            if touch is not None:
                yield start, touch
            elif self._every_opcode:
                yield start, ("anything", True)
            start = None
            before = opcode.opname

    def _touch(self, opcode: dis.Instruction, before: str) -> Touch | None:
        name, argument = opcode.opname, opcode.argval
        if name in {"LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"}:
            if argument in METHODS:
                return METHODS[argument]
            if argument in self.shared:
                writes = name in {"STORE_ATTR", "DELETE_ATTR"}
                return PLACES.get(argument, argument), writes
            return None
        if name == "LOAD_GLOBAL" and argument in BUILT_IN:
            return BOX, False
        if name == "BINARY_OP" and opcode.argrepr == "[]":  # since Python 3.14
            name = "BINARY_SUBSCR"
        if name in OPCODES:
            return OPCODES[name]
        tests = name in {"TO_BOOL", "UNARY_NOT"} or (
            "JUMP" in name and ("IF_TRUE" in name or "IF_FALSE" in name)
        )
        if tests and before.startswith(("LOAD_ATTR", "LOAD_FAST", "STORE_FAST_LOAD_FAST")):
            return BOX, False
        return None


@cache
def _stored_in(path: Path) -> frozenset[str]:
    """Return the names of attributes that a file's code stores outside of constructors."""
    pending = [compile(path.read_text(encoding="utf-8"), str(path), "exec")]
    found = set()
    while pending:
        code = pending.pop()
        pending.extend(const for const in code.co_consts if isinstance(const, CodeType))
        if code.co_name != "__init__":
            for opcode in dis.get_instructions(code):
                if opcode.opname in {"STORE_ATTR", "DELETE_ATTR"}:
                    found.add(opcode.argval)
    return frozenset(found)
