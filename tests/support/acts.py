"""What befalls workers: deaths at moments of every kind, and departures."""

import random
import signal
from collections.abc import Callable

from tests.support.crew import Crew, Worker
from tests.support.ends import Ends
from tests.support.patience import await_

_LOOKS = 20

Act = Callable[[Crew, Ends, random.Random], None]


def drawn_acts(moments: random.Random, *, kills: int, leaves: int) -> list[Act]:
    """Give so many deaths, of every kind in turn, and so many departures, in an order that is drawn."""
    deaths: list[Act] = [die_anywhere, die_in_a_commit, die_after_a_commit, die_in_a_restore, die_young] * kills
    acts = [*deaths[:kills], *[leave] * leaves]
    moments.shuffle(acts)
    return acts


def die_anywhere(crew: Crew, _: Ends, moments: random.Random) -> None:
    victim = _choose(crew, moments)
    # No condition to wait for: the moment itself is what is drawn.
    crew.let_run(moments.uniform(0.0, 2.0))
    victim.kill()


def die_in_a_commit(crew: Crew, ends: Ends, moments: random.Random) -> None:
    def caught() -> Worker | None:
        victim, before = _choose(crew, moments), ends.open()
        began = ends.open() - before
        if not began:
            return None
        victim.send(signal.SIGSTOP)
        # The others' transactions end by themselves: one that is still open after many looks is that of the victim.
        if all(began & ends.open() for _ in range(_LOOKS)):
            return victim
        victim.send(signal.SIGCONT)
        return None

    await_("a worker in the middle of its transaction", caught).kill()


def die_after_a_commit(crew: Crew, _: Ends, moments: random.Random) -> None:
    victim = _choose(crew, moments)
    before = crew.commits
    await_("a commit of any worker", lambda: crew.commits > before)
    victim.kill()


def die_in_a_restore(crew: Crew, _: Ends, moments: random.Random) -> None:
    victim = crew.start()
    victim.await_log(r"assigned shards \[\d")
    crew.let_run(moments.uniform(0.0, 0.3))
    victim.kill()


def die_young(crew: Crew, _: Ends, moments: random.Random) -> None:
    victim = crew.start()
    crew.let_run(moments.uniform(0.5, 3.0))
    victim.kill()


def leave(crew: Crew, _: Ends, moments: random.Random) -> None:
    crew.start()
    _choose(crew, moments).leave()


def _choose(crew: Crew, moments: random.Random) -> Worker:
    """Choose among those who are at work; each of them owned a shard at least once."""
    return moments.choice(await_("somebody at work", lambda: [it for it in crew.staying if it.count("restore: shard")]))
