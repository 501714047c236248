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


class NotReadyError(MMEError):
    """Something that was waited for did not come."""

    def __init__(self, what: str, waited_s: float, seen: str, *, because: str) -> None:
        super().__init__(what, waited_s, seen, because)
        self.what, self.waited_s, self.seen, self.because = what, waited_s, seen, because

    def __str__(self) -> str:
        return (
            f"{self.what}: gave up after {self.waited_s:.1f} s\n"
            f"  because: {self.because}\n"
            f"  seen:    {self.seen}"
        )


class NoAnswerError(MMEError):
    """A server gave no HTTP answer: the connection was refused or cut, or the time was up (`timed_out`)."""

    def __init__(self, request: str, seconds: float, cause: Exception, timed_out: bool) -> None:
        super().__init__(request, seconds, str(cause), timed_out)
        self.request, self.seconds, self.cause, self.timed_out = request, seconds, cause, timed_out

    def __str__(self) -> str:
        return (
            f"{self.request} got no answer after {self.seconds:.2f} s\n"
            f"  seen: {type(self.cause).__name__}: {self.cause}\n"
            f"  next: read the server's log; it may have been stopped, killed or overloaded"
        )


class ArchiveError(MMEError):
    """An archive or a SavedModel folder is not what it should be: *what* was looked at, what was *seen*, what *next*."""

    def __init__(self, what: str, seen: str, next_step: str) -> None:
        super().__init__(what, seen, next_step)
        self.what, self.seen, self.next_step = what, seen, next_step

    def __str__(self) -> str:
        return f"{self.what}\n  seen: {self.seen}\n  next: {self.next_step}"


class UnknownAnswerError(MMEError):
    """The known answer of a model was asked for that the kit did not build."""

    def __init__(self, model: str, archive: str) -> None:
        super().__init__(model, archive)
        self.model, self.archive = model, archive

    def __str__(self) -> str:
        return (
            f"the kit does not know what {self.model!r} answers\n"
            f"  seen: it came from {self.archive}, not from the builder\n"
            f"  next: write the expected prediction into the test, or build a model with .linear(), .text(), …"
        )


class UnavailableError(MMEError):
    """Something that was asked for cannot be had on this machine."""

    def __init__(self, asked: str, seen: str, advice: str) -> None:
        super().__init__(asked, seen, advice)
        self.asked, self.seen, self.advice = asked, seen, advice

    def __str__(self) -> str:
        return f"{self.asked} cannot be had here\n  seen: {self.seen}\n  next: {self.advice}"
