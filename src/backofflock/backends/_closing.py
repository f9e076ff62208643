"""What backends have in common that have something to close."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Closing", "ClosingInTasks"]


class Closing(ABC):
    """A context manager that closes what it is at its end."""

    @abstractmethod
    def close(self) -> None:
        """Close it; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class ClosingInTasks(Closing):
    """The same for what has clients of event loops too."""

    @abstractmethod
    async def aclose(self) -> None:
        """Close it, in a task."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
