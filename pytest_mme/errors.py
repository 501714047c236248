"""Every error that the kit raises: what happened, what was seen, what to try; the facts as attributes."""

from __future__ import annotations

_TENSORFLOW_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)  # tensorflow/c/tf_status.h, in the order of their numbers


class MMEError(Exception):
    """The base of every error of pytest-mme."""


class TensorFlowMissingError(MMEError):
    """TensorFlow's shared libraries could not be opened."""

    def __init__(self, looked_for: str, seen: str) -> None:
        super().__init__(looked_for, seen)
        self.looked_for, self.seen = looked_for, seen

    def __str__(self) -> str:
        return (
            f"TensorFlow's libraries could not be opened\n"
            f"  looked for: {self.looked_for}\n"
            f"  seen:       {self.seen}\n"
            f"  next:       pip install 'tensorflow>=2.12' (Linux x86-64 is what is tested)"
        )


class TensorFlowError(MMEError):
    """TensorFlow's own status: `code` by name, as in ``RESOURCE_EXHAUSTED``, and its message."""

    def __init__(self, code: int | str, message: str) -> None:
        super().__init__(code, message)
        self.code = code if isinstance(code, str) else _TENSORFLOW_CODES[code]
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
