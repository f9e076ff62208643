"""All mutants: where a fault of a lock may hide, from the queue to the schedules."""

from __future__ import annotations

from .face_faults import FACE_FAULTS
from .host_faults import HOST_FAULTS, SCHEDULE_FAULTS
from .machine_faults import MACHINE_FAULTS
from .runner import Mutant

__all__ = ["MUTANTS"]

MUTANTS: tuple[Mutant, ...] = (
    *MACHINE_FAULTS,
    *FACE_FAULTS,
    *HOST_FAULTS,
    *SCHEDULE_FAULTS,
)
