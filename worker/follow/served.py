"""Which version of a shard is served, how old it is, and why not a newer one."""

from dataclasses import dataclass

from worker.follow.shard import FollowedShard
from worker.snapshot.manifest import Base, Manifest


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served of one shard."""

    shard: int
    version: int  # 0 before the first
    age_seconds: float  # since the version was made; NaN before the first
    damage: str | None  # why newer versions are refused
    held_back: int = 0  # newer versions that are not to be served, as their worker says
    reasons: tuple[str, ...] = ()  # why, of the newest of them


def served_of(number: int, shard: FollowedShard, now: float) -> Served:
    """Tell what is served of a shard; `now` is in seconds since 1970."""
    withheld, manifest = shard.withheld, shard.manifest  # in this order: what is served may overtake what is not
    version = manifest.version if manifest else 0
    held_back = max(withheld.version - version, 0) if withheld else 0
    return Served(
        shard=number,
        version=version,
        age_seconds=now - manifest.created / 1_000 if manifest else float("nan"),
        damage=shard.damage,
        held_back=held_back,
        reasons=tuple(withheld.reasons) if withheld and held_back else (),
    )


def way_to_serve(last: Manifest) -> Base:
    """Give the newest base from which the last servable version can be read; the newest one where there is none."""
    ways = [base for base in last.bases if base.completed <= last.last_servable]
    return (ways if ways and not last.servable else last.bases)[-1]
