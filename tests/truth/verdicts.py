"""What each check must say of a world, by what really happened there.

A verdict is None where no observer could tell: where moments that decide it are less than 20 ms apart, or a ratio is near
its bound. Everything is computed anew here, from the world and not from events.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

from tests.truth.observer import Recording
from tests.truth.world import STEP_S, Policy, Request, World

_CLEAR = 1.35
"""How far from its bound a ratio of latencies must be, as a factor: the shortest are 20 ms, and clocks are 2 ms off."""
_LATE_S = 1.0
FEW = 10

Verdict = bool | None


def answers(world: World) -> Verdict:
    kits = [one for one in world.requests if one.asked.by_kit]
    asked = {one.model for one in world.requests}
    known = {one.model for one in kits if one.outcome == "ok" and one.predicted != "nothing"}
    return bool(kits) and asked <= known and all(is_right(one) for one in kits)


def is_right(request: Request) -> bool:
    """Whether the caller got the right prediction; of other clients only the status is seen."""
    return request.outcome == "ok" and (request.predicted == "right" or not request.asked.by_kit)


def succeeded(request: Request) -> bool:
    """As its caller sees it."""
    return request.outcome == "ok" and not (request.asked.by_kit and request.predicted == "nothing")


def concurrent(world: World, at_least: int, how: Recording) -> Verdict:
    worked = [one.worked for one in world.requests if one.worked]
    if not how.server_sees or not worked:
        return at_least == 1 and any(map(succeeded, world.requests))
    return busiest(worked) >= at_least


def busiest(spans: Iterable[tuple[float, float]]) -> int:
    """How many went on at once; one that begins as another ends does not."""
    spans = [(began_s, done_s) for began_s, done_s in spans if began_s < done_s]
    changes = sorted([(began_s, 1) for began_s, _ in spans] + [(done_s - STEP_S / 2, -1) for _, done_s in spans])
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def loads_once(world: World) -> Verdict:
    """A call waits from its first try on."""
    herds, left_s = 0, dict.fromkeys((stay.model for stay in world.stays), -math.inf)
    for stay in world.stays:
        asked = [one for one in world.requests if one.model == stay.model]
        if any(abs(one.asked.at_s - at_s) < STEP_S / 2 for one in asked for at_s in (stay.came_s, left_s[stay.model])):
            return None
        before = [one for one in asked if left_s[stay.model] < one.asked.at_s < stay.came_s]
        waiting = _together(before, stay.came_s)
        if len(waiting) != len(_together(before, stay.came_s, margin_s=STEP_S / 2)):
            return None
        left_s[stay.model] = stay.left_s
        if len(waiting) < 2:
            continue
        herds += 1
        first_s = min(one.asked.at_s for one in waiting)
        for kind in ("download", "load"):
            moves = [one for one in world.moves if (one.kind, one.model) == (kind, stay.model) and one.outcome == "ok"]
            if sum(first_s < one.done_s < stay.left_s for one in moves) > 1:
                return False
    return bool(herds)


def _together(before: Sequence[Request], came_s: float, margin_s: float = -STEP_S / 2) -> list[Request]:
    """Those that waited until their model came, and those that were under way together with one of these."""
    found = [one for one in before if one.done_s >= came_s]
    while found:
        since_s = min(one.asked.at_s for one in found)
        more = [one for one in before if one not in found and one.done_s + margin_s > since_s]
        if not more:
            break
        found += more
    return found


def drained(world: World) -> Verdict:
    """A call is under way from its first try on, also while its client waits to try again."""
    met: list[Request] = []
    for one in world.requests:
        began_s = [move.began_s for move in world.moves if move.model == one.model and move.kind in ("unload", "evict")]
        if any(min(abs(at_s - one.asked.at_s), abs(at_s - one.done_s)) < STEP_S / 2 for at_s in began_s):
            return None
        if any(one.asked.at_s < at_s < one.done_s for at_s in began_s):
            met.append(one)
    return bool(met) and all(map(succeeded, met))


def evicted(world: World, model: str) -> Verdict:
    return any((one.kind, one.model) == ("evict", model) for one in world.moves)


def evictions(world: World, at_most: int) -> Verdict:
    if not any(map(succeeded, world.requests)):
        return False
    return sum(one.kind == "evict" for one in world.moves) <= at_most


def policy(world: World, which: Policy) -> Verdict:
    decided = [one for one in world.moves if one.kind == "evict"]
    used_s = {at_s for one in world.requests for at_s in (*one.admitted_s, *one.finished_s)}
    if _tied(world, used_s):
        return None
    judged = [one for one in decided if one.choice or one.busy]
    return bool(judged) and all(which in one.right_by for one in judged)


def _tied(world: World, moments: Iterable[float]) -> bool:
    """Whether the order is not known: an eviction was decided at one of the moments, with another, or as a model came or left."""
    moves = {at_s for stay in world.stays for at_s in (stay.came_s, stay.left_s)}
    moves |= {one.began_s for one in world.moves if one.kind == "unload"}
    decided = [one.began_s for one in world.moves if one.kind == "evict"]
    return len({*decided}) < len(decided) or any(
        abs(at_s - one) < STEP_S / 2 for at_s in {*moments, *moves} for one in decided
    )


def capacity(world: World, n: int, how: Recording) -> Verdict:
    tried_s = [] if how.exact else [one.done_s for one in world.moves if one.kind == "load"]
    if world.deaths or _tied(world, tried_s):  # when a model died is known to a second only
        return None
    decided = [one for one in world.moves if one.kind == "evict"]
    return world.most == n and bool(decided) and all(one.occupying >= n for one in decided)


def no_thrash(world: World, hit_ratio: float) -> Verdict:
    if not world.stays or not any(map(succeeded, world.requests)):
        return False
    clear = {
        sum(succeeded(one) and not waited(world, one, margin_s) for one in world.requests) / len(world.requests)
        >= hit_ratio
        for margin_s in (-STEP_S / 2, STEP_S / 2)
    }
    return clear.pop() if len(clear) == 1 else None


def waited(world: World, request: Request, margin_s: float = 0.0) -> bool:
    """Whether a request had to wait for a load; one that came less than *margin_s* after it is taken to have."""
    return any(request.asked.at_s - margin_s <= came_s <= request.done_s for came_s in came(world, request.model))


def came(world: World, model: str) -> list[float]:
    """When loads of a model ended with it in memory."""
    return sorted(one.done_s for one in world.moves if (one.kind, one.model, one.outcome) == ("load", model, "ok"))


def resident(world: World, model: str) -> Verdict:
    return model in world.resident()


def isolated(world: World, good: str, bad: str) -> Verdict:
    failures = [one.done_s for one in world.requests if one.model == bad and not succeeded(one)]
    failures += [at_s for at_s, model in world.deaths if model == bad]
    failures += [  # a load without room, for which none was made
        one.done_s
        for one in world.moves
        if (one.kind, one.model, one.outcome) == ("load", bad, "507")
        if not any(came_s >= one.done_s for came_s in came(world, bad))
    ]
    if not failures:
        return False
    first_s = min(failures)
    began_s = min(
        [one.asked.at_s for one in world.requests if one.model == bad and not succeeded(one) and one.done_s == first_s],
        default=first_s,
    )
    of_good = [one for one in world.requests if one.model == good]
    if any(abs(one.done_s - moment_s) < STEP_S for one in of_good for moment_s in (first_s, began_s)):
        return None
    if not any(one.done_s >= first_s for one in of_good):
        return False
    meanwhile = [one for one in of_good if one.done_s >= began_s]
    died = [at_s for at_s, model in world.deaths if model == good]
    if any(abs(at_s - began_s) < STEP_S for at_s in died):
        return None
    return all(succeeded(one) and is_right(one) for one in meanwhile) and not any(at_s >= began_s for at_s in died)


def recovers(world: World, within_s: float) -> Verdict:
    if not world.deaths:
        return False
    outages = [(at_s, model, _recovered(world, at_s, model)) for at_s, model in world.deaths]
    for at_s, model, back in outages:
        if back is None or back.done_s - at_s > within_s + STEP_S / 2 or not _right_again(world, at_s, model):
            return False
        for one in world.requests:
            if not (one.done_s >= at_s and one.asked.at_s <= back.done_s):
                continue
            if not succeeded(one) and not _excused(one, outages):
                return False
            if succeeded(one) and _held_up(world, one, at_s, within_s, outages):
                return False
    return True


def _recovered(world: World, at_s: float, model: str) -> Request | None:
    """The first request that was replied to by a later process."""
    return min(_served_again(world, at_s, model), key=lambda one: one.done_s, default=None)


def _right_again(world: World, at_s: float, model: str) -> bool:
    """Whether the first predictions that are known are right."""
    seen = [one for one in _served_again(world, at_s, model) if one.asked.by_kit]
    first_s = min((one.done_s for one in seen), default=0.0)
    return all(is_right(one) for one in seen if one.done_s <= first_s)


def _served_again(world: World, at_s: float, model: str) -> list[Request]:
    again = [one for one in came(world, model) if one >= at_s]
    return [
        one
        for one in world.requests
        if one.model == model
        and succeeded(one)
        and one.done_s >= at_s
        and (one.asked.at_s >= at_s or any(came_s <= one.done_s for came_s in again))
    ]


def _excused(request: Request, outages: Sequence[tuple[float, str, Request | None]]) -> bool:
    return any(
        request.model == model
        and request.done_s >= at_s - _LATE_S
        and request.asked.at_s <= (back.done_s if back else math.inf)
        for at_s, model, back in outages
    )


def _held_up(
    world: World,
    request: Request,
    at_s: float,
    within_s: float,
    outages: Sequence[tuple[float, str, Request | None]],
) -> bool:
    mine = [one for one in outages if one[:2] == (at_s, request.model)]
    usual = [
        one.seconds
        for one in world.requests
        if one.model == request.model and one is not request and succeeded(one) and not _excused(one, mine)
    ]
    waited_s = request.done_s - max(request.asked.at_s, at_s)
    return waited_s > within_s + STEP_S / 2 and waited_s > 2 * max(usual, default=0.0)


def no_stall(world: World, of: str, factor: float) -> Verdict:
    spans = [(one.began_s, one.done_s) for one in world.moves if one.kind == "load" and one.model != of]
    return _not_slower(world, [of], spans, factor)


def fair(world: World, hog: str, max_ratio: float) -> Verdict:
    of_hog = [one for one in world.requests if one.model == hog]
    others = sorted({one.model for one in world.requests} - {hog})
    if not any(map(succeeded, of_hog)) or not others:
        return False
    return _not_slower(world, others, [(one.asked.at_s, one.done_s) for one in of_hog if succeeded(one)], max_ratio)


def _not_slower(world: World, names: Sequence[str], spans: Sequence[tuple[float, float]], factor: float) -> Verdict:
    margins = itertools.product((-STEP_S / 2, STEP_S / 2), repeat=2)
    clear = {_slower_at(world, names, spans, factor, *margin_s) for margin_s in margins}
    return clear.pop() if len(clear) == 1 else None


def _slower_at(
    world: World,
    names: Sequence[str],
    spans: Sequence[tuple[float, float]],
    factor: float,
    margin_s: float,
    load_margin_s: float,
) -> Verdict:
    """The verdict where requests that began so close to the end of a span are in it, and to that of a load waited for it."""
    if not spans:
        return False
    verdicts: list[Verdict] = []
    for name in names:
        asked = [one for one in world.requests if one.model == name]
        inside = [
            one
            for one in asked
            if any(one.asked.at_s - margin_s < done_s and began_s < one.done_s + margin_s for began_s, done_s in spans)
        ]
        if any(not succeeded(one) for one in inside):
            return False
        first = came(world, name)[:1]
        then = [
            one for one in inside if not any(one.asked.at_s - load_margin_s <= at_s <= one.done_s for at_s in first)
        ]
        else_ = [one for one in asked if one not in inside and succeeded(one) and not waited(world, one, load_margin_s)]
        if min(len(then), len(else_)) < FEW:
            return False
        verdicts += [_clearly(percentile(then, p), percentile(else_, p), factor) for p in (50, 99)]
    return False if False in verdicts else None if None in verdicts else True


def percentile(requests: Sequence[Request], p: float) -> float:
    ordered = sorted(one.seconds for one in requests)
    return ordered[math.ceil(p / 100 * len(ordered)) - 1]


def _clearly(then_s: float, else_s: float, factor: float) -> Verdict:
    ratio = then_s / else_s / factor
    return None if 1 / _CLEAR < ratio < _CLEAR else ratio < 1
