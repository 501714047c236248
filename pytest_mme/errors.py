"""The kit's errors and its warnings: each shows what happened, what was seen and what to try, with facts as attributes."""

from __future__ import annotations

_TENSORFLOW_CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)  # tensorflow/c/tf_status.h, in the order of their numbers

_SHOWN_XS = 5


def shown(value: object, most: int = 200) -> str:
    """Return *value* as messages show it: on one line, and cut after *most* characters."""
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}…"


def why_unreachable(error: BaseException) -> str:
    """Why a connection failed, in the system's own words, as in ``Connection refused``: libraries wrap them in theirs."""
    seen, found = set[int](), [error]
    for one in found:  # grows
        if isinstance(one, OSError) and one.strerror:
            return one.strerror
        seen.add(id(one))
        causes = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        found += [cause for cause in causes if isinstance(cause, BaseException) and id(cause) not in seen]
        found += [part for cause in causes if isinstance(cause, tuple) for part in cause if isinstance(part, Exception)]
    return (str(error).splitlines() or [type(error).__name__])[0].rpartition(">: ")[2]


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


class OpLibraryError(TensorFlowError):
    """TensorFlow did not load the op library *library*: *seen* is its own message, and `message` adds *advice*."""

    def __init__(self, library: str, code: int | str, seen: str, advice: str) -> None:
        super().__init__(code, f"{seen}: {advice}")
        self.args = (library, code, seen, advice)
        self.library, self.seen, self.advice = library, seen, advice

    def __str__(self) -> str:
        return (
            f"TensorFlow did not load the op library {self.library}\n"
            f"  seen: {self.code}: {self.seen}\n"
            f"  next: {self.advice}"
        )


class NotReadyError(MMEError):
    """Something that was waited for did not happen in time, or cannot happen any more."""

    def __init__(self, what: str, waited_s: float, seen: str, *, because: str) -> None:
        super().__init__(what, waited_s, seen, because)
        self.what, self.waited_s, self.seen, self.because = what, waited_s, seen, because

    def __str__(self) -> str:
        return f"{self.what}: gave up after {self.waited_s:.1f} s\n  because: {self.because}\n  seen:    {self.seen}"


class NoAnswerError(MMEError):
    """A server sent no HTTP reply: the connection was refused or cut, or the time was up (`timed_out`)."""

    def __init__(self, request: str, seconds: float, cause: Exception, timed_out: bool) -> None:
        super().__init__(request, seconds, str(cause), timed_out)
        self.request, self.seconds, self.cause, self.timed_out = request, seconds, cause, timed_out

    def __str__(self) -> str:
        return (
            f"{self.request} got no reply after {self.seconds:.2f} s\n"
            f"  seen: {type(self.cause).__name__}: {self.cause}\n"
            f"  next: read the server's log; it may have been stopped, killed or overloaded"
        )


class ArchiveError(MMEError):
    """An archive or a SavedModel folder is not what it should be: *what* happened, what was *seen*, and *advice*."""

    def __init__(self, what: str, seen: str, advice: str) -> None:
        super().__init__(what, seen, advice)
        self.what, self.seen, self.advice = what, seen, advice

    def __str__(self) -> str:
        return f"{self.what}\n  seen: {self.seen}\n  next: {self.advice}"


class BuildError(MMEError):
    """TensorFlow's Python package, in a process of its own, did not build *models*."""

    def __init__(self, models: tuple[str, ...], seen: str, log: str) -> None:
        super().__init__(models, seen, log)
        self.models, self.seen, self.log = models, seen, log

    def __str__(self) -> str:
        end = "\n".join(f"    {line}" for line in self.log.strip().splitlines()[-20:])
        return (
            f"TensorFlow did not build {', '.join(self.models)}\n"
            f"  seen: {self.seen}\n"
            f"  next: read the end of its log below; models other than .keras() need no TensorFlow package\n"
            f"{end or '    (nothing)'}"
        )


class UnknownAnswerError(MMEError):
    """The expected prediction of a model is unknown: the kit did not build it, and nothing says what it predicts.

    `known` are the instances of *model* for which one is known, and *asked* says for what it was asked instead.
    """

    def __init__(self, model: str, archive: str, asked: str = "", known: tuple[object, ...] = ()) -> None:
        super().__init__(model, archive, asked, known)
        self.model, self.archive, self.asked, self.known = model, archive, asked, known

    def __str__(self) -> str:
        if not self.asked:
            return (
                f"the kit does not know what {self.model!r} is expected to predict\n"
                f"  seen: it came from {self.archive}, not from the builder\n"
                f"  next: give mme_models.archive the answers=, write the expected prediction into the test, or build a "
                f"model with .linear(), .text(), …"
            )
        some = ", ".join(shown(x, 60) for x in self.known[:_SHOWN_XS])
        more = f" and {len(self.known) - _SHOWN_XS} more" if len(self.known) > _SHOWN_XS else ""
        return (
            f"the kit does not know what {self.model!r} is expected to predict for {self.asked}\n"
            f"  seen: known are the predictions for {some or 'no x'}{more}\n"
            f"  next: ask for one of these, or add it to the answers= or inputs= of mme_models.archive"
        )


class AnswersError(MMEError):
    """The answers that *model* is to give cannot be known: what was *seen*, and *advice*."""

    def __init__(self, model: str, seen: str, advice: str) -> None:
        super().__init__(model, seen, advice)
        self.model, self.seen, self.advice = model, seen, advice

    def __str__(self) -> str:
        return f"the answers of {self.model!r} cannot be known\n  seen: {self.seen}\n  next: {self.advice}"


class UnavailableError(MMEError):
    """Something that is needed is not available on this machine."""

    def __init__(self, asked: str, seen: str, advice: str) -> None:
        super().__init__(asked, seen, advice)
        self.asked, self.seen, self.advice = asked, seen, advice

    def __str__(self) -> str:
        return f"{self.asked} cannot be had here\n  seen: {self.seen}\n  next: {self.advice}"


class SettingError(MMEError):
    """The value of an option makes no sense: its *spelling*, *source* and *value*, and *advice*."""

    def __init__(self, spelling: str, source: str, value: str, advice: str) -> None:
        super().__init__(spelling, source, value, advice)
        self.spelling, self.source, self.value, self.advice = spelling, source, value, advice

    def __str__(self) -> str:
        return f"{self.spelling} from the {self.source} is {self.value!r}: {self.advice}"


class ContractError(MMEError):
    """A call of the container contract got another status than 200."""

    def __init__(self, call: str, status: int, body: str) -> None:
        super().__init__(call, status, body)
        self.call, self.status, self.body = call, status, body

    def __str__(self) -> str:
        advice = {
            404: "the model is not loaded, or its folder holds no SavedModel",
            409: "it is loaded already: unload it first",
            507: "no memory left: unload a model, or give the server more",
        }.get(self.status, "read the server's log")
        return f"{self.call} replied {self.status}\n  body: {self.body}\n  next: {advice}"


class ServerStartError(MMEError):
    """A server did not start."""

    def __init__(self, name: str, seen: str, log: str | None = None) -> None:
        """*log*: the end of its log; None where that says no more than *seen*, or is not known."""
        super().__init__(name, seen, log)
        self.name, self.seen, self.log = name, seen, log

    def __str__(self) -> str:
        log = "" if self.log is None else f"\n  the end of its log:\n{self.log or '(empty)'}"
        return f"the server {self.name!r} did not start: {self.seen}{log}"


class FitsError(MMEError):
    """No memory limit holds exactly *n* of the archives, whichever they are."""

    def __init__(self, n: int, costs_mib: dict[str, float]) -> None:
        super().__init__(n, costs_mib)
        self.n, self.costs_mib = n, costs_mib

    def __str__(self) -> str:
        costs = "\n".join(f"    {name}: {mib:.1f} MiB" for name, mib in self.costs_mib.items())
        return (
            f"fits={self.n}: no limit holds every {self.n} of these archives and no {self.n + 1} of them\n"
            f"  measured, resident:\n{costs}\n"
            f"  next: give memory_mib= yourself, or use archives of more equal size"
        )


class ImageBuildError(MMEError):
    """An image could not be built."""

    def __init__(self, image: str, seen: str, log: str) -> None:
        super().__init__(image, seen, log)
        self.image, self.seen, self.log = image, seen, log

    def __str__(self) -> str:
        end = "\n".join(f"    {line}" for line in self.log.splitlines())
        return (
            f"the image {self.image} could not be built\n"
            f"  seen: {self.seen.strip()}\n"
            f"  next: read the end of the build's log below; behind a proxy that decrypts TLS give --ca-bundle, and where "
            f"no registry can be reached --base with an image that is here\n"
            f"{end or '    (nothing)'}"
        )


class OutdatedImageWarning(UserWarning):
    """An image has other code of this package than the installed one."""

    def __init__(self, image: str) -> None:
        super().__init__(image)
        self.image = image

    def __str__(self) -> str:
        return (
            f"the image {self.image} holds another version of pytest-mme's server than the installed one: it may not "
            f"behave as this version describes; build it again: pytest-mme image build server (or mms)"
        )


class LeftBehindWarning(UserWarning):
    """A test has left a server that other tests use, too, in a state that they cannot use: `left` says how."""

    def __init__(self, test: str, server: str, fixture: str, left: tuple[str, ...]) -> None:
        super().__init__(test, server, fixture, left)
        self.test, self.server, self.fixture, self.left = test, server, fixture, left

    def __str__(self) -> str:
        own = self.fixture.rpartition("_")[0]
        return (
            f"{self.test} left {self.server} ({self.fixture}) behind with {', '.join(self.left)}: it is renewed before "
            f"the next test; give a test that breaks a server one of its own, from {own}"
        )
