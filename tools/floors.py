"""The floors of the package: a module imports from its own room and from those listed before it, never from a later one."""

from __future__ import annotations

FLOORS = (
    *("errors", "extras", "versions", "answers", "waiting", "validation", "settings"),
    *(
        "timeline",
        "checks",
        "libtensorflow",
        "archives",
        "models",
        "doctor",
        "contract",
        "traffic",
        "serving",
        "images",
    ),
    *("runtimes", "measuring", "aws", "hosting", "faults"),
    *("report", "factories", "kit", "replay", "plugin", "conformance", "cli"),
    "pytest_mme",  # the package itself names what users import, from everywhere
)
