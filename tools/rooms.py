"""The rooms of the package in order: a module imports from its own room and from rooms listed earlier."""

from __future__ import annotations

ROOMS = (
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
