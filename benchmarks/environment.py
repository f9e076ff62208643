"""What a reader needs to judge the numbers: the interpreter, the machine, the versions."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import sysconfig
from collections.abc import Iterable
from datetime import UTC, datetime

from .peers import Peer

__all__ = ["environment"]


def environment(peers: Iterable[Peer]) -> dict[str, str]:
    """Return the facts, by name, in the order to print them."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "build": _build(),
        "compiler": platform.python_compiler(),
        "loop": _loop(),
        "switch interval": f"{sys.getswitchinterval() * 1e3:g} ms",
        "machine": f"{platform.system()} {platform.release()} on {platform.machine()}",
        "processor": _processor(),
        "cores": _cores(),
        "load": _load(),
        "versions": _versions(peers),
    }


def _build() -> str:
    arguments = sysconfig.get_config_var("CONFIG_ARGS") or ""
    optimised = "--enable-optimizations" in arguments
    facts = [
        "profile-guided" if optimised else "not profile-guided (no --enable-optimizations)",
        "LTO" if "--with-lto" in arguments else "no LTO",
        "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with the GIL",
    ]
    if sysconfig.get_config_var("Py_DEBUG"):
        facts.append("debug")
    return ", ".join(facts)


def _loop() -> str:
    loop = asyncio.new_event_loop()
    loop.close()
    return f"{type(loop).__module__}.{type(loop).__qualname__}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _cores() -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{usable} of {os.cpu_count()}"


def _load() -> str:
    if not hasattr(os, "getloadavg"):
        return "unknown"
    return f"{os.getloadavg()[0]:.2f} at the start, over one minute"


def _versions(peers: Iterable[Peer]) -> str:
    versions = {peer.package: peer.version for peer in peers if peer.package != "python"}
    return ", ".join(f"{package} {version}" for package, version in versions.items())
