"""`python -m tests.truth.explore --runs 100000`: draw so many runs, and print each check whose verdict is not the truth's."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from collections.abc import Iterator
from random import Random

from tests.truth.drawing import DEFECTS, SHAPES, setting
from tests.truth.judged import judged, passes
from tests.truth.observer import Recording, record
from tests.truth.world import Setting, World

_AT_A_TIME = 200


def drawn(number: int) -> tuple[Setting, Recording]:
    """A run with its recording; the same number gives the same one."""
    dice = Random(number)
    world = setting(dice.getrandbits(32), dice.choice(DEFECTS), dice.choice(SHAPES))
    server_sees, exact, engine_reports = (dice.random() < 0.5 for _ in range(3))
    return world, Recording(dice.getrandbits(32), server_sees=server_sees, exact=exact, engine_reports=engine_reports)


def disagreements(one: Setting, how: Recording) -> Iterator[str]:
    """The checks whose verdict is not that of the truth, each with what both say."""
    world = World(one)
    events = record(world, how)
    for name, truth, check in judged([model.name for model in one.models], one.room, how):
        if (expected := truth(world)) is not None:
            passed, why = passes(check, events)
            if passed is not expected:
                yield f"{name} must {'pass' if expected else 'fail'} with {one.defect}: {why or 'it passes'}"


def _of_run(number: int) -> list[str]:
    return [f"run {number}: {text}" for text in disagreements(*drawn(number))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=1000, help="how many (default: 1000, which take some 10 s of a core)"
    )
    parser.add_argument("--since", type=int, default=0, metavar="NUMBER", help="the number of the first (default: 0)")
    asked = parser.parse_args()
    found = 0
    with multiprocessing.Pool(os.cpu_count()) as pool:
        numbers = range(asked.since, asked.since + asked.runs)
        for done, texts in enumerate(pool.imap_unordered(_of_run, numbers, chunksize=_AT_A_TIME), 1):
            found += len(texts)
            print(*texts, sep="\n", end="\n" if texts else "")
            if sys.stderr.isatty() and done % _AT_A_TIME == 0:
                print(f"\r{done} of {asked.runs} runs", end="", file=sys.stderr, flush=True)
    print(f"{found} disagreements in {asked.runs} runs from number {asked.since} on")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
