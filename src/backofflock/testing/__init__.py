"""What a backend of your own has to pass: `BackendContract`, to be collected by pytest."""

from .contract import BackendContract

__all__ = ["BackendContract"]
