"""Keep the tables of README.md and docs/ as the code and the recorded data have them.

A table stands between two comments that say where it comes from, and is never edited by hand:

    <!-- code: options -->                  made by the function of that name in `TABLES`, from the code itself
    <!-- recorded: what-a-container-gets --> made from docs/recorded/PAGE.json: measured or decided, and by whom
    <!-- end -->

    python -m tools.make_docs              list the pages that are out of date; exit status 1 when there are any
    python -m tools.make_docs --write      rewrite their tables in place
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from pytest_mme import EndpointSpec, ModelSpec, ServerSpec, checks, round_robin, trace, uniform, zipf
from pytest_mme.answers import BY_DTYPE
from pytest_mme.cli import app
from pytest_mme.contract.conformance.clauses import CLAUSES
from pytest_mme.contract.deviations import DEVIATIONS
from pytest_mme.contract.dialects import DIALECTS
from pytest_mme.doctor import KINDS
from pytest_mme.faults.faults import Faults
from pytest_mme.models.exporting.environments import NEWEST_PYTHON, OLDEST, OLDEST_PYTHON
from pytest_mme.models.forging import verdicts
from pytest_mme.models.forging.forge import FORGERIES
from pytest_mme.settings import OPTIONS, Option
from tools import install_table
from tools.field_tables import HEAD, field_rows
from tools.rooms import ROOMS

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "docs" / "recorded"
REGION = re.compile(
    r"(?P<head><!-- (?P<kind>code|recorded): (?P<name>[\w-]+) -->\n)(?P<table>.*?)(?P<end><!-- end -->)", re.DOTALL
)
OUTCOMES = {"answers": "answers", "differs": "**differs**", "not loaded": "load", "not answered": "request"}
SCOPES = ("function", "class", "module", "package", "session")
WORDS_SHOWN = 70  # characters of an error message

Row = Sequence[str]


def pages() -> list[Path]:
    """README.md, and every page of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def rendered(page: Path, text: str) -> str:
    """The text of a page with each of its tables as the code and the recorded data have it."""

    def replaced(region: re.Match[str]) -> str:
        made = TABLES[region["name"]]() if region["kind"] == "code" else recorded_table(page, region["name"])
        return f"{region['head']}\n{made}\n{region['end']}"

    return REGION.sub(replaced, text)


def markdown(head: Row, rows: Iterable[Row]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def recorded(page: Path) -> Mapping[str, Any]:
    """What is recorded for a page; nothing where it has no such file."""
    file = RECORDED / f"{page.stem}.json"
    return json.loads(file.read_text()) if file.exists() else {}


def recorded_table(page: Path, name: str) -> str:
    """A table of the recorded data."""
    table = recorded(page)["tables"][name]
    return markdown(table["columns"], table["rows"])


def options() -> str:
    """The options of pytest."""
    rows = [
        (" ".join(filter(None, (f"`{option.flag_name}", option.metavar))) + "`", _default(option), option.help)
        for option in OPTIONS
    ]
    return markdown(("option", "default", "what it does"), rows)


def _default(option: Option) -> str:
    if isinstance(option.default, Path):  # which folder differs from machine to machine
        return "the user's cache folder"
    return "off" if option.flag else f"`{option.default_text}`"


def fixtures() -> str:
    """The fixtures, as `pytest --fixtures` describes them, in the order of their definitions.

    Those that differ from another one only in how long they live share a row: `mme_server_module` is `mme_server`.
    """
    found = _fixtures()
    longer = [(name, scope) for name, scope, _ in found if name.endswith(f"_{scope}")]
    rows = [(f"`{name}`", scope, described) for name, scope, described in found if (name, scope) not in longer]
    names = dict.fromkeys(f"`{name.removesuffix(scope)}…`" for name, scope in longer)
    scopes = [scope for scope in SCOPES if scope in dict(longer).values()]
    described = (
        f"The same for longer: add {', '.join(f'`_{scope}`' for scope in scopes)} to the name (docs/sharing.md)."
    )
    return markdown(("fixture", "scope", "what a test gets"), [*rows, (", ".join(names), ", ".join(scopes), described)])


def scopes() -> str:
    """The fixtures that exist for each scope, by what they end with."""
    names = {name for name, *_ in _fixtures()}
    bases = [name for name in names if f"{name}_session" in names]
    rows = [("the test", *(f"`{base}`" for base in sorted(bases)))]
    for scope in SCOPES[1:]:
        longer = [f"{base}_{scope}" for base in sorted(bases)]
        rows.append((f"the {scope}", *(f"`{name}`" if name in names else "" for name in longer)))
    return markdown(("it ends with", *(base.removeprefix("mme_") for base in sorted(bases))), rows)


def _fixtures() -> list[tuple[str, str, str]]:
    """Name, scope and first line of each fixture."""
    found = re.findall(r"^(mme_\w+)(?: \[(\w+) scope\])? -- .*?(\S+):(\d+)\n +(.+)$", _pytest_fixtures(), re.MULTILINE)
    in_order = sorted(found, key=lambda fixture: (fixture[2], int(fixture[3])))
    return [(name, scope or SCOPES[0], described) for name, scope, _, _, described in in_order]


def _pytest_fixtures() -> str:
    command = [sys.executable, "-m", "pytest", "--fixtures", "-p", "no:cacheprovider", "--color=no"]
    with tempfile.TemporaryDirectory() as empty:
        return subprocess.run(command, cwd=empty, capture_output=True, text=True, check=False).stdout


def check_names() -> list[str]:
    """The names of all checks."""
    return [name for name in checks.__all__ if name.startswith("check_")]


def check_table() -> str:
    """What each check asserts: the first line of its docstring."""
    rows = [(f"`{name}`", first_line(getattr(checks, name))) for name in check_names()]
    return markdown(("check", "what it does"), rows)


CLAIM_PARTS = ("Seen by", "Reads", "Nothing to judge", "Cannot see")
"""The parts that the docstring of each check ends with."""


def check_claims() -> str:
    """What each check claims, a section for each: its docstring."""
    return "\n\n".join(f"## {name}\n\n{_claim(getattr(checks, name))}" for name in check_names())


def _claim(check: Callable[..., None]) -> str:
    """The docstring of a check, its parts as a list."""
    *claim, parts = (inspect.getdoc(check) or "").split("\n\n")
    items = re.sub(rf"(?:^|\n)({'|'.join(CLAIM_PARTS)}): ", r"\n- **\1**: ", parts).strip()
    return "\n\n".join([*claim, re.sub(r"\n(?!- )", "\n  ", items)])


def doctor_codes() -> str:
    """What the doctor can find."""
    rows = [(f"`{kind.code}`", kind.severity, kind.title, kind.why, kind.advice) for kind in KINDS]
    return markdown(("code", "severity", "what was found", "what happens", "what to do"), rows)


def clauses() -> str:
    """The clauses of the container contract that the judge knows."""
    rows = [(f"`{clause.id}`", clause.says, clause.source, clause.optional or "") for clause in CLAUSES]
    return markdown(("clause", "what it demands", "source", "on demand"), rows)


def dialects() -> str:
    """The kinds of containers whose replies are understood."""
    rows = [
        (
            dialect.name,
            ", ".join(map(str, sorted(dialect.no_memory))),
            "yes" if dialect.ghosts else "no",
            "yes" if dialect.get_breaks else "no",
        )
        for dialect in DIALECTS
    ]
    head = ("container", "a load that lacks memory", "failed loads stay registered", "`GET /models/ID` fails")
    return markdown(head, rows)


def deviations() -> str:
    """The kinds of `deviation` events."""
    return markdown(("outcome", "what it is"), [(f"`{one.kind}`", one.sentence) for one in DEVIATIONS])


def forgeries_of(module: str) -> Callable[[], str]:
    """The forgeries that one module of `pytest_mme.models.forging` defines."""

    def table() -> str:
        found = importlib.import_module(f"pytest_mme.models.forging.{module}").FORGERIES
        head = ("forgery", "what is wrong, and how it comes about")
        return markdown(head, [(f"`{forgery.name}`", forgery.about) for forgery in found])

    return table


def verdict_table() -> str:
    """What each TensorFlow release does with each forgery."""
    releases = verdicts.releases()
    minors = [".".join(release.split(".")[:2]) for release in releases]
    rows = [(f"`{name}`", *(_outcome(name, release) for release in releases)) for name in FORGERIES]
    return markdown(("forgery", *minors), rows)


def _outcome(forgery: str, release: str) -> str:
    found = verdicts.verdict(forgery, release)
    return "-" if found is None else OUTCOMES[found.outcome]


def verdict_words() -> str:
    """How the newest release that refuses a forgery words it."""
    return markdown(("forgery", "status", "words"), _verdict_words())


def _verdict_words() -> Iterator[Row]:
    for name in FORGERIES:
        found = [verdicts.verdict(name, release) for release in verdicts.releases()]
        if refused := [one for one in found if one is not None and one.words]:
            text = refused[-1].words[:WORDS_SHOWN].replace("|", "\\|")
            yield f"`{name}`", str(refused[-1].status or "not unpacked"), f"`{text}`"


def tolerances() -> str:
    """By how much floats may differ from an expected prediction."""
    rows = [(dtype, f"{one.relative:g}", f"{one.absolute:g}") for dtype, one in BY_DTYPE.items()]
    return markdown(("type of the output", "`rtol`", "`atol`"), rows)


def mixes() -> str:
    """The mixes of traffic, by their signatures and docstrings."""
    rows = [(f"`{call_of(mix)}`", first_line(mix)) for mix in (round_robin, uniform, zipf, trace)]
    return markdown(("mix", "which model is asked next"), rows)


def call_of(function: Callable[..., Any]) -> str:
    """How a function is called, with its defaults and without types: `zipf(models, s=1.0, seed=0)`."""
    return f"{function.__name__}({', '.join(map(_argument, inspect.signature(function).parameters.values()))})"


def _argument(parameter: inspect.Parameter) -> str:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return f"*{parameter.name}"
    if parameter.default is not parameter.empty:
        return f"{parameter.name}={parameter.default!r}"
    return f"{parameter.name}=…" if parameter.kind is parameter.KEYWORD_ONLY else parameter.name


def first_line(described: object) -> str:
    """The first line of a docstring."""
    return (described.__doc__ or "").splitlines()[0]


def faults() -> str:
    """What can be broken: the methods of `Faults`, by their signatures and docstrings."""
    methods = [method for name, method in vars(Faults).items() if not name.startswith("_") and callable(method)]
    rows = [
        (f"`{call_of(method).replace('(self, ', '(').replace('(self)', '()')}`", first_line(method))
        for method in methods
    ]
    return markdown(("fault", "what it does"), rows)


def options_of(*command: str) -> Callable[[], str]:
    """The options of a command of `pytest-mme`, as its `--help` describes them."""

    def table() -> str:
        rows = [
            (f"`{' '.join(filter(None, (option.opts[0], metavar(option))))}`", option.help or "")
            for option in command_at(command).params
            if option.param_type_name == "option"
        ]
        return markdown(("option", "what it does"), rows)

    return table


def command_at(path: Sequence[str]) -> Any:
    """A command of `pytest-mme`; KeyError when there is none of that name."""
    found: Any = typer.main.get_command(app)
    for name in path:
        found = found.commands[name]
    return found


def metavar(option: Any) -> str:
    """What stands for the value of an option; nothing for a flag."""
    return "" if option.is_flag else str(option.metavar or option.name).upper()


def fields_of(specification: type[Any]) -> Callable[[], str]:
    """The fields of a specification."""
    return lambda: markdown(HEAD, field_rows(specification))


def rooms() -> str:
    """The rooms of the package, in the order in which they may import one another, by their own docstrings."""
    found = [(name, importlib.import_module(f"pytest_mme.{name}")) for name in ROOMS[:-1]]
    rows = [(f"`{name}{'/' if hasattr(room, '__path__') else '.py'}`", first_line(room)) for name, room in found]
    return markdown(("room", "what is in it"), rows)


def tried() -> str:
    """The environments that the kit was installed into."""
    return markdown(install_table.TRIED_COLUMNS, install_table.tried_rows())


def resolved() -> str:
    """The versions that the kit resolves to beside each TensorFlow."""
    return markdown(install_table.RESOLVED_COLUMNS, install_table.resolved_rows())


def exporter_pythons() -> str:
    """Which Python each TensorFlow needs to save models."""
    rows, first = [], OLDEST
    for after, newest in NEWEST_PYTHON.items():
        last = (after[0], after[1] - 1)
        rows.append(
            (_span(*(f"{major}.{minor}" for major, minor in (first, last))), _span(f"3.{OLDEST_PYTHON}", f"3.{newest}"))
        )
        first = after
    return markdown(("TensorFlow", "Python"), rows)


def _span(first: str, last: str) -> str:
    return first if first == last else f"{first} to {last}"


FORGERY_MODULES = ("claims", "graphs", "mismatches", "assets", "files", "layouts")
TABLES: Mapping[str, Callable[[], str]] = {
    "options": options,
    "fixtures": fixtures,
    "scopes": scopes,
    "checks": check_table,
    "check-claims": check_claims,
    "mixes": mixes,
    "tolerances": tolerances,
    "faults": faults,
    "server-fields": fields_of(ServerSpec),
    "endpoint-fields": fields_of(EndpointSpec),
    "model-fields": fields_of(ModelSpec),
    "rooms": rooms,
    "tried": tried,
    "resolved": resolved,
    "exporter-pythons": exporter_pythons,
    "image-options": options_of("image", "build"),
    "conformance-options": options_of("conformance"),
    "doctor-codes": doctor_codes,
    "clauses": clauses,
    "dialects": dialects,
    "deviations": deviations,
    "verdicts": verdict_table,
    "verdict-words": verdict_words,
    **{f"forgeries-{module}": forgeries_of(module) for module in FORGERY_MODULES},
}


def main() -> None:
    stale = [page for page in pages() if rendered(page, page.read_text()) != page.read_text()]
    for page in stale:
        print(page.relative_to(ROOT))
        if "--write" in sys.argv[1:]:
            page.write_text(rendered(page, page.read_text()))
    sys.exit(bool(stale) and "--write" not in sys.argv[1:])


if __name__ == "__main__":
    main()
