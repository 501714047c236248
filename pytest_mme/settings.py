"""The option table: command line over environment over ini file over default, each value with its source."""

# ruff: noqa: RUF009  what stands where a default would is a field

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import platformdirs

from pytest_mme import versions
from pytest_mme.errors import SettingError

T = TypeVar("T")

RuntimeName = Literal["local", "docker", "attach"]
Pull = Literal["never", "missing", "always"]
Enforcement = Literal["auto", "cgroup", "sampled"]
DeviceName = Literal["cpu", "gpu", "auto"]
Shown = Literal["short", "full", "none"]
Keep = Literal["never", "failed", "always"]


@dataclasses.dataclass(frozen=True)
class Setting(Generic[T]):
    """A value and where it came from."""

    value: T
    source: str
    """``"command line"``, ``"environment"``, ``"ini file"`` or ``"default"``."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Option:
    """One option in its three spellings: ``--mme-NAME``, ``PYTEST_MME_NAME``, ``mme_name``."""

    name: str
    parse: Callable[[str], Any]
    default: Any
    help: str
    metavar: str | None = None
    flag: bool = False
    """Given on the command line without a value."""
    many: bool = False
    """May be given several times there; elsewhere its values are separated by spaces."""

    @property
    def default_text(self) -> str:
        """Describe the default, for people."""
        return "none" if self.default in (None, ()) else str(self.default)

    @property
    def flag_name(self) -> str:
        """Return its spelling on the command line."""
        return f"--mme-{self.name.replace('_', '-')}"

    @property
    def environment_name(self) -> str:
        """Return its spelling in the environment."""
        return f"PYTEST_MME_{self.name.upper()}"

    @property
    def ini_name(self) -> str:
        """Return its spelling in the ini file."""
        return f"mme_{self.name}"

    def resolve(self, *, cli: str | None, environment: Mapping[str, str], ini: str) -> Setting[Any]:
        """Take the first source that is set; an empty ini value counts as unset. Raises `SettingError`."""
        candidates = (
            ("command line", self.flag_name, cli),
            ("environment", self.environment_name, environment.get(self.environment_name)),
            ("ini file", self.ini_name, ini or None),
        )
        for source, spelling, raw in candidates:
            if raw is None:
                continue
            try:
                return Setting(self.parse(raw), source)
            except ValueError as error:
                raise SettingError(spelling, source, raw, str(error)) from error
        return Setting(self.default, "default")


class Versions(tuple[str, ...]):
    """Versions of TensorFlow, as they were asked for."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(self)


@dataclasses.dataclass(frozen=True)
class SharedFolder:
    """A folder that both this machine and a server see."""

    here: Path
    there: PurePosixPath
    """The server's path of it."""

    def __str__(self) -> str:
        return f"{self.here}:{self.there}"


def _one_of(literal: Any) -> Callable[[str], Any]:
    """Parse a value of a `Literal`."""
    allowed = get_args(literal)

    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"choose one of {', '.join(allowed)}")
        return raw

    return parse


def _number(of: str, *, least: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        if not raw.isdecimal() or int(raw) < least:
            raise ValueError(f"give a {of}, at least {least}")
        return int(raw)

    return parse


def _yes_or_no(raw: str) -> bool:
    meanings = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in meanings:
        raise ValueError("give yes or no")
    return meanings[raw.lower()]


def _folder(raw: str) -> Path:
    if not raw:
        raise ValueError("give a folder")
    return Path(raw).expanduser().absolute()


def _file(raw: str) -> Path:
    if not raw or Path(raw).expanduser().is_dir():
        raise ValueError("give a file")
    return Path(raw).expanduser().absolute()


def _image(raw: str) -> str:
    if not raw or raw != raw.strip() or raw.startswith("-"):
        raise ValueError("give an image's name, such as pytest-mme-server:2.21.0")
    return raw


def _url(raw: str) -> str:
    address = urlsplit(raw)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ValueError("give a URL, as in http://127.0.0.1:8080")
    return raw.rstrip("/")


def _versions(raw: str) -> Versions:
    asked = Versions(dict.fromkeys(map(versions.check, raw.replace(",", " ").split())))
    if not asked:
        raise ValueError("give a version, as in 2.15.1 or 2.15, or installed, or latest")
    return asked


def _shared_folder(raw: str) -> SharedFolder:
    here, _, there = raw.partition(":")
    folder = _folder(here)
    if not folder.is_dir():
        raise ValueError("there is no such folder here")
    if there and not there.startswith("/"):
        raise ValueError("give the server's path of the folder from the root on, as in /opt/ml/models")
    return SharedFolder(folder, PurePosixPath(there or folder))


def _option(parse: Callable[[str], T], default: T, **described: Any) -> Setting[T]:
    """Declare an option: a field of `Settings`, whose name is the option's, with the rest of `Option` beside it."""
    field: Setting[T] = dataclasses.field(metadata={"parse": parse, "default": default, **described})
    return field


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All options of a run. Each is a `Setting`: `settings.keep.value`, `settings.keep.source`."""

    runtime: Setting[RuntimeName] = _option(
        _one_of(RuntimeName),
        "local",
        metavar="WHERE",
        help="where servers run: local (the embedded server, in processes of this machine), docker (an image, in a "
        "container) or attach (the server of --mme-url, which runs already)",
    )
    tf: Setting[Versions] = _option(
        _versions,
        Versions(),
        metavar="VERSION",
        many=True,
        help="run each test that uses mme_server or mme_endpoint once on this TensorFlow: 2.15.1, 2.15, installed or "
        f"latest; give it several times for several (without it: {versions.BY_DEFAULT}; in a container the image's)",
    )
    image: Setting[str | None] = _option(
        _image,
        None,
        metavar="NAME",
        help="the image that --mme-runtime=docker runs: AWS's, your own, or one of `pytest-mme image build` "
        f"(without it: pytest-mme-server with the installed TensorFlow, or else {versions.DEFAULT})",
    )
    pull: Setting[Pull] = _option(
        _one_of(Pull),
        "missing",
        metavar="WHEN",
        help="fetch the image from its registry: never, where it is missing, or always",
    )
    url: Setting[str | None] = _option(
        _url,
        None,
        metavar="URL",
        help="the multi-model server that --mme-runtime=attach sends requests to, as in http://127.0.0.1:8080",
    )
    url_models: Setting[SharedFolder | None] = _option(
        _shared_folder,
        None,
        metavar="FOLDER[:FOLDER]",
        help="a folder that the server of --mme-url sees, too: its path here, and after a colon the server's, where that "
        "differs (without it: a temporary folder, for a server on this machine)",
    )
    enforcement: Setting[Enforcement] = _option(
        _one_of(Enforcement),
        "auto",
        metavar="HOW",
        help="how the local runtime limits memory: cgroup (a memory cgroup), sampled (it measures the workers and kills "
        "the one that uses too much) or auto (a cgroup where one may be made)",
    )
    device: Setting[DeviceName] = _option(
        _one_of(DeviceName),
        "cpu",
        metavar="WHERE",
        help="where models run, unless their test chooses: cpu, gpu, or auto (on a GPU where there is one); AWS supports "
        "GPU multi-model endpoints with Triton's container only",
    )
    keep: Setting[Keep] = _option(
        _one_of(Keep),
        "never",
        metavar="WHEN",
        help="keep the run's directory (server logs, extracted archives): never, failed or always",
    )
    evidence: Setting[Shown] = _option(
        _one_of(Shown),
        "short",
        metavar="HOW",
        help="what a failing test shows beside its reason: short (what happened around it, in at most 40 lines), full "
        "(the whole timeline and log, a chart of the memory, and tracebacks with all frames) or none",
    )
    report: Setting[Path | None] = _option(
        _file,
        None,
        metavar="FILE",
        help="write what the run found into this file: FILE.html is a page that shows each test's models, memory and "
        "latencies over time; any other, as JSON, which archive runs on which TensorFlow",
    )
    seed: Setting[int | None] = _option(
        _number("whole number", least=0),
        None,
        metavar="NUMBER",
        help="the seed of mme_faults(…).chaos(…) where a test gives none; the log of a failed test shows its seed, which "
        "makes the same faults again (without it: another each time)",
    )
    cache: Setting[Path] = _option(
        _folder,
        platformdirs.user_cache_path("pytest-mme"),
        metavar="FOLDER",
        help="where built models and measurements are kept between runs",
    )
    cache_mib: Setting[int] = _option(
        _number("number of MiB", least=1),
        2048,
        metavar="MIB",
        help="how large the cache of models may grow before the least recently used are dropped",
    )
    tf_cache_mib: Setting[int] = _option(
        _number("number of MiB", least=1),
        16_384,
        metavar="MIB",
        help="how large the cache of TensorFlow versions may grow before the least recently used are dropped; one takes "
        "550 to 1200 MiB",
    )
    doctor: Setting[bool] = _option(
        _yes_or_no,
        False,
        flag=True,
        help="collect each model.tar.gz as a test, as in pytest --mme-doctor dist/*.tar.gz; it fails when `pytest-mme "
        "doctor` finds an error or a warning for the TensorFlow of --mme-tf, by default the installed one, or else the "
        "newest known",
    )
    no_signal: Setting[bool] = _option(
        _yes_or_no,
        False,
        flag=True,
        help="leave SIGTERM alone; without this, SIGTERM ends the run like Ctrl-C, so that everything is cleaned up",
    )

    @classmethod
    def resolve(
        cls,
        *,
        cli: Callable[[Option], str | None] = lambda _: None,
        environment: Mapping[str, str],
        ini: Callable[[Option], str] = lambda _: "",
    ) -> Settings:
        """Resolve every option.

        Raises `SettingError` for the first value that makes no sense, for a URL without its runtime, and for the
        runtime without its URL.
        """
        resolved = {one.name: one.resolve(cli=cli(one), environment=environment, ini=ini(one)) for one in OPTIONS}
        settings = cls(**resolved)
        runtime, url = settings.runtime, settings.url
        if runtime.value == "attach" and url.value is None:
            raise SettingError(
                "--mme-runtime", runtime.source, "attach", "give the address of the server: --mme-url=URL"
            )
        if runtime.value != "attach" and url.value is not None:
            advice = f"the runtime is {runtime.value} ({runtime.source}); add --mme-runtime=attach"
            raise SettingError("--mme-url", url.source, url.value, advice)
        return settings

    def given(self) -> dict[str, str]:
        """Return the values that somebody has set, as text, by the options' names."""
        found = {option.name: getattr(self, option.name) for option in OPTIONS}
        return {name: str(setting.value) for name, setting in found.items() if setting.source != "default"}


OPTIONS = tuple(Option(name=field.name, **field.metadata) for field in dataclasses.fields(Settings))
