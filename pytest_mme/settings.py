"""The option table: command line over environment over ini file over default, each value with its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import urlsplit

import platformdirs

from pytest_mme import versions
from pytest_mme.errors import SettingError

T = TypeVar("T")


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
        """The default for people."""
        return "none" if self.default in (None, ()) else str(self.default)

    @property
    def flag_name(self) -> str:
        """On the command line."""
        return f"--mme-{self.name.replace('_', '-')}"

    @property
    def environment_name(self) -> str:
        """In the environment."""
        return f"PYTEST_MME_{self.name.upper()}"

    @property
    def ini_name(self) -> str:
        """In the ini file."""
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


def _one_of(*allowed: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in allowed:
            raise ValueError(f"choose one of {', '.join(allowed)}")
        return raw

    return parse


def _yes_or_no(raw: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    if raw.lower() not in words:
        raise ValueError("say yes or no")
    return words[raw.lower()]


def _mebibytes(raw: str) -> int:
    if not raw.isdecimal() or int(raw) == 0:
        raise ValueError("give a number of MiB, at least 1")
    return int(raw)


def _seed(raw: str) -> int:
    if not raw.isdecimal():
        raise ValueError("give a whole number, 0 or more")
    return int(raw)


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


class Versions(tuple[str, ...]):
    """Versions of TensorFlow, as they were asked for."""

    __slots__ = ()

    def __str__(self) -> str:
        return " ".join(self)


def _versions(raw: str) -> Versions:
    asked = Versions(dict.fromkeys(map(versions.check, raw.replace(",", " ").split())))
    if not asked:
        raise ValueError("give a version, as in 2.15.1 or 2.15, or installed, or latest")
    return asked


@dataclasses.dataclass(frozen=True)
class SharedFolder:
    """A folder that both sides see."""

    here: Path
    there: PurePosixPath
    """How the server calls it."""

    def __str__(self) -> str:
        return f"{self.here}:{self.there}"


def _shared_folder(raw: str) -> SharedFolder:
    here, _, there = raw.partition(":")
    folder = _folder(here)
    if not folder.is_dir():
        raise ValueError("there is no such folder here")
    if there and not there.startswith("/"):
        raise ValueError("give the server's name of the folder from the root on, as in /opt/ml/models")
    return SharedFolder(folder, PurePosixPath(there or folder))


OPTIONS = (
    Option(
        name="runtime",
        parse=_one_of("local", "docker", "attach"),
        default="local",
        metavar="WHERE",
        help="where servers run: local: the embedded server in a process; docker: an image in a container; "
        "attach: nowhere, the server of --mme-url runs already",
    ),
    Option(
        name="tf",
        parse=_versions,
        default=Versions(),
        metavar="VERSION",
        many=True,
        help="run each test that uses mme_server or mme_endpoint once on this TensorFlow: 2.15.1, 2.15, installed or "
        "latest; give it several times for several (without it: the installed one, or the image's)",
    ),
    Option(
        name="image",
        parse=_image,
        default=None,
        metavar="NAME",
        help="the image that --mme-runtime=docker runs: AWS's, your own, or one of `pytest-mme image build` "
        "(without it: pytest-mme-server with the installed TensorFlow)",
    ),
    Option(
        name="pull",
        parse=_one_of("never", "missing", "always"),
        default="missing",
        metavar="WHEN",
        help="fetch the image from its registry: never, where it is missing, or always",
    ),
    Option(
        name="url",
        parse=_url,
        default=None,
        metavar="URL",
        help="the multi-model server that --mme-runtime=attach asks, as in http://127.0.0.1:8080",
    ),
    Option(
        name="url_models",
        parse=_shared_folder,
        default=None,
        metavar="FOLDER[:FOLDER]",
        help="a folder that the server of --mme-url sees, too: here, and after a colon as the server calls it, where "
        "that differs (without it: a temporary folder, for a server on this machine)",
    ),
    Option(
        name="enforcement",
        parse=_one_of("auto", "cgroup", "sampled"),
        default="auto",
        metavar="HOW",
        help="how the local runtime limits memory: by a memory cgroup, by sampling the workers and killing the "
        "offender, or auto: by a cgroup where one may be made",
    ),
    Option(
        name="device",
        parse=_one_of("cpu", "gpu", "auto"),
        default="cpu",
        metavar="WHERE",
        help="where models run whose test does not say it: cpu, gpu, or auto: on a GPU where there is one; AWS supports "
        "GPU multi-model endpoints with Triton's container only",
    ),
    Option(
        name="keep",
        parse=_one_of("never", "failed", "always"),
        default="never",
        metavar="WHEN",
        help="keep the run's directory (server logs, extracted archives): never, failed or always",
    ),
    Option(
        name="report",
        parse=_file,
        default=None,
        metavar="FILE",
        help="write what the run found into this file: FILE.html is a page that shows each test's models, memory and "
        "latencies over time; any other, as JSON, which archive runs on which TensorFlow",
    ),
    Option(
        name="seed",
        parse=_seed,
        default=None,
        metavar="NUMBER",
        help="the seed of mme_faults(…).chaos(…) in tests that give none: makes the faults of a run that failed again, "
        "whose log says it (without it: another each time)",
    ),
    Option(
        name="cache",
        parse=_folder,
        default=platformdirs.user_cache_path("pytest-mme"),
        metavar="FOLDER",
        help="where built models and measurements are kept between runs",
    ),
    Option(
        name="cache_mib",
        parse=_mebibytes,
        default=2048,
        metavar="MIB",
        help="how large the cache of models may grow before the least recently used are dropped",
    ),
    Option(
        name="tf_cache_mib",
        parse=_mebibytes,
        default=16_384,
        metavar="MIB",
        help="how large the cache of TensorFlow versions may grow before the least recently used are dropped; one takes "
        "550 to 1200 MiB",
    ),
    Option(
        name="doctor",
        parse=_yes_or_no,
        default=False,
        flag=True,
        help="take each model.tar.gz that is given for a test: pytest --mme-doctor dist/*.tar.gz; it fails when "
        "`pytest-mme doctor` finds an error or a warning for the TensorFlow of --mme-tf, or the installed one",
    ),
    Option(
        name="no_signal",
        parse=_yes_or_no,
        default=False,
        flag=True,
        help="leave SIGTERM alone; without this, SIGTERM ends the run like Ctrl-C, so that everything is cleaned up",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """All options of a run. Each is a `Setting`: `settings.keep.value`, `settings.keep.source`."""

    runtime: Setting[Literal["local", "docker", "attach"]]
    tf: Setting[Versions]
    image: Setting[str | None]
    pull: Setting[Literal["never", "missing", "always"]]
    url: Setting[str | None]
    url_models: Setting[SharedFolder | None]
    enforcement: Setting[str]
    device: Setting[Literal["cpu", "gpu", "auto"]]
    keep: Setting[str]
    report: Setting[Path | None]
    seed: Setting[int | None]
    cache: Setting[Path]
    cache_mib: Setting[int]
    tf_cache_mib: Setting[int]
    doctor: Setting[bool]
    no_signal: Setting[bool]

    @classmethod
    def resolve(
        cls,
        *,
        cli: Callable[[Option], str | None] = lambda _: None,
        environment: Mapping[str, str],
        ini: Callable[[Option], str] = lambda _: "",
    ) -> Settings:
        """Settle every option; raises `SettingError` for the first that makes no sense."""
        settings = cls(
            **{
                option.name: option.resolve(cli=cli(option), environment=environment, ini=ini(option))
                for option in OPTIONS
            }
        )
        settings._check_url()
        return settings

    def given(self) -> dict[str, str]:
        """What somebody has set, as text, by the options' names."""
        found = {option.name: getattr(self, option.name) for option in OPTIONS}
        return {name: str(setting.value) for name, setting in found.items() if setting.source != "default"}

    def _check_url(self) -> None:
        """A URL and the runtime that asks it go together."""
        if self.runtime.value == "attach" and self.url.value is None:
            raise SettingError("--mme-runtime", self.runtime.source, "attach", "say which server: --mme-url=URL")
        if self.runtime.value != "attach" and self.url.value is not None:
            advice = f"the runtime is {self.runtime.value} ({self.runtime.source}); add --mme-runtime=attach"
            raise SettingError("--mme-url", self.url.source, self.url.value, advice)
