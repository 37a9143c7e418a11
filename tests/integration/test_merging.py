"""Many shards, one model: each adds its part exactly once, whoever dies, is silent, or comes back late."""

import random
import signal
from pathlib import Path

import numpy as np
import orjson

from deploy.broker import Broker
from tests.support.acts import drawn_acts
from tests.support.crew import Crew, Worker
from tests.support.ends import Ends
from tests.support.feed import Feed
from tests.support.merged import Listener, Replays, assembled, knows_all, shared_keys, sum_of, view_of
from tests.support.patience import SECONDS, await_
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, last_manifests, require_exactly_once, require_one_chain
from worker.events.decode import Decoder
from worker.events.features import Features
from worker.events.partition import partition
from worker.follow import Follower
from worker.model.batch import Entries
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind
from worker.stream.client import reader_settings
from worker.stream.tail import Tail

EVENTS = 60_000
KILLS = 8
LEAVES = 1
EVENTS_PER_SECOND = 2_000
COMMITTED = r"committed \{"
MERGED = {"merge": True}
WAYS = ("published", "folded")
# Commits as events come: a shard without events of its own folds nothing in for ten of these intervals.
AT_ONCE = {"interval_seconds": 30, "max_events": 1}
KEPT = {"keep_bases": 1_000, "base_part_bytes": 65_536}  # nothing is trimmed: a replay needs all that was published


def test_shards_merge_exactly_once_whatever_befalls_their_workers(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(
        kafka,
        unique,
        tmp_path,
        model=MERGED | {"half_life": "20s"},  # of the events' times, which span a minute
        snapshots=KEPT,
        kafka={"consumer": {"heartbeat.interval.ms": 300}, "transaction_timeout_seconds": 3},
    )
    moments = random.Random(3)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
        # Given workers that learn and merge while events arrive
        feed.begin(EVENTS_PER_SECOND)
        crew.start()
        crew.start().await_commit()

        # When they are killed, leave, are replaced and joined by others
        for act in drawn_acts(moments, kills=KILLS, leaves=LEAVES):
            act(crew, ends, moments)
            while len(crew.staying) < 2:
                crew.start()
        feed.stop()
        feed.send(max(0, EVENTS - feed.sent))
        await_all_learned(stage)
        for worker in crew.staying:
            worker.leave()

        # Then each shard is, version by version, what its events and the recorded versions of its peers make of it
        assert {worker.exit_code() for worker in crew.workers if not worker.killed} == {0}
        assert sum(worker.killed for worker in crew.workers) == KILLS
        assert not any(worker.count("peers_trimmed") for worker in crew.workers)
        require_one_chain(stage)
        replays = Replays(stage)
        require_exactly_once(stage, feed, replays.replay)
        # and they did merge, again and again
        for shard in range(stage.partitions):
            known = [sum(peer.version for peer in it.peers.values()) for it in replays.manifests(shard)]
            assert len(set(known)) > len(known) // 4


def test_a_lone_shard_has_nobody_to_merge_with(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, partitions=1, model=MERGED, snapshots=KEPT)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        # Given the only shard of a model, whose worker dies
        crew.start()
        feed.send(3_000)
        await_all_learned(stage)
        crew.workers[-1].kill()
        # When another one takes it up
        successor = crew.start()
        feed.send(3_000)
        await_all_learned(stage)
        successor.leave()
        # Then it is what its events make of it, and nobody else took part
        assert successor.exit_code() == 0
        replays = Replays(stage)
        require_exactly_once(stage, feed, replays.replay)
        assert all(manifest.peers == {} for manifest in replays.manifests(0))
        assert all(manifest.state.view for manifest in replays.manifests(0))


def test_a_follower_serves_one_model(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, model=MERGED, snapshots=KEPT)
    with Feed(stage, users=200, items=100) as feed, Crew(stage, tmp_path) as crew:
        # Given a follower that begins with a model that is there, and goes on with what comes
        feed.send(2_000)
        crew.start()
        crew.start()
        await_all_learned(stage)
        with Follower(stage.config.kafka, stage.config.model.topic) as follower:
            for _ in range(5):
                feed.send(500)
                await_all_learned(stage)
            follower.catch_up(SECONDS)

            # When all is quiet, then its shared rows are the sum of what all shards have added
            ledger = sum_of(Replays(stage).foldings, stage)
            whole = assembled(stage, ledger, None)
            served = follower._shards[0]._whole._model
            assert served.shared is not None
            assert whole.shared is not None
            assert served.shared.merged.digest == ledger.digest
            keys = shared_keys(whole, ledger)
            assert len(keys) > 100
            assert served.table.gather(keys).tobytes() == whole.table.gather(keys).tobytes()
            assert served.pair_means.tobytes() == whole.pair_means.tobytes()
            assert served.pair_precisions.tobytes() == whole.pair_precisions.tobytes()

            # and a user never seen is scored with them alone
            stranger = _event("stranger")
            scores, expected = follower.score([stranger]), whole.predict(_entries(stage, stranger))
            assert scores.probability.tobytes() == expected.predictions.tobytes()
            assert scores.variance.tobytes() == expected.variances.tobytes()

            # and a user that was seen with the local rows of its shard and the shared ones of all
            for shard in range(stage.partitions):
                model = assembled(stage, ledger, shard)
                known = _event(_user_of(stage, shard))
                scores, expected = follower.score([known]), model.predict(_entries(stage, known))
                assert scores.shard.tolist() == [shard]
                assert scores.probability.tobytes() == expected.predictions.tobytes()
                assert scores.variance.tobytes() == expected.variances.tobytes()
                assert expected.predictions != whole.predict(_entries(stage, known)).predictions


def test_a_silent_shard_and_one_that_restarts_catch_up(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, model=MERGED, snapshots=KEPT, commit=AT_ONCE)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Listener(stage) as listener:
        # Given a shard that falls silent while the others learn on
        crew.start()
        crew.start()
        feed.send(2_000)
        await_all_learned(stage)
        _advance(stage, feed, crew, versions=10, without={0})
        assert _require_measured(stage, crew)["1"] > 0
        # When it gets events again
        feed.send(1_000)
        await_all_learned(stage)
        # Then in the end it knows all that they have added, once
        _require_sum(stage, feed, listener, 0)
        _require_measured(stage, crew)
        for metric in ("headrace_exchanged_rows_total", "headrace_exchanged_bytes_total"):
            assert _greatest(crew, metric).keys() == {f"{way},{shard}" for shard in range(4) for way in WAYS}
            assert min(_greatest(crew, metric).values()) > 0
        assert len(_greatest(crew, "headrace_merge_distance")) == stage.partitions
        assert min(_greatest(crew, "headrace_merge_distance").values()) > 0

        # Given that it is silent once more, and all workers die
        _advance(stage, feed, crew, versions=100, without={0})
        for worker in crew.living:
            worker.kill()
        # When another worker begins, with all those versions to catch up
        crew.start()
        feed.send(1_000)
        await_all_learned(stage)
        # Then nothing is lost and nothing counted twice
        _require_sum(stage, feed, listener, 0)
        _require_sum(stage, feed, listener, 1)
        assert not any(worker.count("peers_trimmed") for worker in crew.workers)
        require_exactly_once(stage, feed, Replays(stage).replay)
        require_one_chain(stage)


def test_a_shard_that_joins_late_and_learns_slowly_misses_nothing(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(kafka, unique, tmp_path, model=MERGED, snapshots=KEPT)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        # Given shards that learn for a while before another one has its first event
        crew.start()
        crew.start()
        feed.send(5_000, without={0})
        others = await_all_learned(stage)
        assert 0 not in others or others[0].state.events == 0
        # When it gets some, and from then on few while the others get many
        for _ in range(5):
            feed.send(60)
            feed.send(3_000, without={0})
        manifests = await_all_learned(stage)
        assert 0 < manifests[0].state.events < min(manifests[shard].state.events for shard in (1, 2, 3)) / 10
        # Then it knows what the others have learned from the start, as they know what it has
        await_("all to follow", lambda: all(_followed(stage, shard) for shard in range(stage.partitions)))
        assert len({manifest.state.view for manifest in last_manifests(stage).values()}) == 1
        require_exactly_once(stage, feed, Replays(stage).replay)
        require_one_chain(stage)


def test_a_shard_without_events_follows_the_others_and_what_it_lacks_is_told(
    kafka: Broker, unique: str, tmp_path: Path
) -> None:
    # What was exchanged is counted by worker: on a busy machine no session may end and move a shard.
    unhurried = {"session_timeout_seconds": 20}
    stage = set_stage(kafka, unique, tmp_path, model=MERGED, snapshots=KEPT, kafka=unhurried)
    with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
        # Given a shard that falls silent, and others that learn on
        crew.start()
        crew.start()
        feed.send(2_000)
        silent = await_all_learned(stage)[0]
        feed.send(500, without={0})
        await_("a worker that is behind", lambda: any(_behind(crew).values()))
        others = await_all_learned(stage)

        # When some time goes by
        folded = await_("the silent shard to follow", lambda: _followed(stage, 0))

        # Then it knows what they have learned, by a version of no event of its own
        assert folded.version > silent.version
        assert folded.input == silent.input
        assert folded.state.digest == silent.state.digest
        assert folded.state.view != silent.state.view
        assert all(folded.peers[shard].events == others[shard].state.events for shard in (1, 2, 3))

        # and once all do, nobody is behind, and all are at rest
        await_("all to follow", lambda: all(_followed(stage, shard) for shard in range(stage.partitions)))
        await_("nobody to be behind", lambda: set(_behind(crew).values()) == {0.0})
        before = last_manifests(stage)
        crew.let_run(3 * 5.0)
        assert last_manifests(stage) == before

        # and what was exchanged is what was published and folded in
        versions = [version for shard in range(stage.partitions) for version in Replays(stage).manifests(shard)]
        published = sum(part.rows for it in versions for part in it.records if part.kind is Kind.CONTRIBUTION)
        exchanged = [item for worker in crew.workers for item in worker.metric("headrace_exchanged_rows_total").items()]
        assert sum(rows for name, rows in exchanged if name.startswith("published,")) == published
        # by each of the three others; what a restore reads is summed up first
        assert published < sum(rows for name, rows in exchanged if name.startswith("folded,")) <= 3 * published
        distances = {shard: far for it in crew.workers for shard, far in it.metric("headrace_merge_distance").items()}
        assert set(distances) == {"0", "1", "2", "3"}
        assert all(0 < far < 100 for far in distances.values())
        require_exactly_once(stage, feed, Replays(stage).replay)
        require_one_chain(stage)


def test_a_shard_comes_back_after_its_peers_were_trimmed(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(
        kafka, unique, tmp_path, partitions=3, model=MERGED, snapshots={"keep_bases": 1, "base_part_bytes": 65_536},
        commit=AT_ONCE,
    )  # fmt: skip
    with Feed(stage, items=1_500) as feed, Crew(stage, tmp_path) as crew, Listener(stage) as listener:
        # Given a shard that is silent while the others trim what it knew of them
        crew.start()
        feed.send(3_000)
        away = await_all_learned(stage)[0]
        while not all(_begin(stage, shard) > away.peers[shard].offset for shard in (1, 2)):
            feed.send(1_200, without={0})
            await_all_learned(stage)
            await_("the listener", listener.heard_all)
        before = last_manifests(stage)
        assert before[0] == away

        # When its worker dies, and another one takes it up
        crew.workers[-1].kill()
        successor = crew.start()
        feed.send(1_000)
        await_all_learned(stage)

        # Then that one says so, and goes on with the others' bases in place of what is gone
        assert successor.count("peers_trimmed: shard 0") == 1
        assert last_manifests(stage)[0].version > away.version
        for shard in range(stage.partitions):
            _require_sum(stage, feed, listener, shard)

        # and whoever takes up what that one has written finds it whole
        successor.kill()
        crew.start()
        feed.send(500)
        await_all_learned(stage)
        _require_sum(stage, feed, listener, 0)
        await_("the listener", listener.heard_all)
        assert sum(it.state.events for it in last_manifests(stage).values()) == feed.valid


def test_a_worker_that_slept_while_its_peers_were_trimmed_goes_on(kafka: Broker, unique: str, tmp_path: Path) -> None:
    stage = set_stage(
        kafka, unique, tmp_path, partitions=2, model=MERGED, snapshots={"keep_bases": 1, "base_part_bytes": 65_536},
        commit=AT_ONCE, kafka={"session_timeout_seconds": 40},
    )  # fmt: skip
    with Feed(stage, items=1_500) as feed, Crew(stage, tmp_path) as crew, Listener(stage) as listener:
        # Given two workers with a shard each, one of which sleeps, shorter than the group would notice
        crew.start()
        crew.start()
        feed.send(2_000)
        await_all_learned(stage)
        await_("a shard for each", lambda: all(worker.count("restore: shard") for worker in crew.workers))
        before = {worker.name: worker.count(COMMITTED) for worker in crew.workers}
        feed.send(10, without={1})
        known = await_all_learned(stage)[0].peers[1].offset

        def committed() -> list[Worker]:
            return [worker for worker in crew.workers if worker.count(COMMITTED) > before[worker.name]]

        (sleeper,) = await_("a commit", committed)
        trimmed = sleeper.count("peers_trimmed: shard 0")
        sleeper.send(signal.SIGSTOP)

        # When the other goes on, and trims what the sleeper has not read
        while _begin(stage, 1) <= known:
            feed.send(1_200, without={0})
            await_all_learned(stage)
            await_("the listener", listener.heard_all)
        sleeper.send(signal.SIGCONT)

        # Then the sleeper takes the sum anew, by itself, and goes on
        sleeper.await_log("peers_trimmed: shard 0", more_than=trimmed)
        feed.send(500)
        await_all_learned(stage)
        _require_sum(stage, feed, listener, 0)
        _require_sum(stage, feed, listener, 1)
        assert not any(worker.count("lost: gave up") for worker in crew.workers)
        assert sum(it.state.events for it in last_manifests(stage).values()) == feed.valid


def _behind(crew: Crew) -> dict[str, float]:
    """Scrape how many events each worker lacks of each shard: the most that any of its shards does."""
    return {
        f"{worker.name}, {peer}": events
        for worker in crew.workers
        for peer, events in worker.metric("headrace_peer_events_behind").items()
    }


def _followed(stage: Stage, shard: int) -> Manifest | None:
    """Give the last version of a shard if it has folded in all that the others have learned."""
    manifests = last_manifests(stage)
    known = {peer: it.events for peer, it in manifests[shard].peers.items()}
    learned = {peer: it.state.events for peer, it in manifests.items() if peer != shard}
    return manifests[shard] if known == learned else None


def _advance(stage: Stage, feed: Feed, crew: Crew, *, versions: int, without: set[int]) -> None:
    """Send events until each other shard is so many versions further."""
    others = set(range(stage.partitions)) - without
    ends = {shard: manifest.version + versions for shard, manifest in last_manifests(stage).items() if shard in others}
    while any(last_manifests(stage)[shard].version < end for shard, end in ends.items()):
        for _ in range(10):  # looking for the last version takes as long as some commits
            before = crew.commits
            feed.send(60, without=without)
            await_("a commit", lambda before=before: crew.commits > before)
    await_all_learned(stage)


def _require_sum(stage: Stage, feed: Feed, listener: Listener, shard: int) -> None:
    """Hold what a shard knows, once that is all, against the sum of what all shards have added."""
    others = set(range(stage.partitions)) - {shard}

    def last_to_learn() -> dict[int, Manifest] | None:
        feed.send(1, without=others)  # a shard folds when it commits, and commits when it has learned
        manifests = await_all_learned(stage)
        return manifests if knows_all(manifests, shard) else None

    manifests = await_(f"shard {shard} to know all", last_to_learn)
    await_("the listener", listener.heard_all)
    heard = {it: max(found) for it, found in listener.foldings.items()}
    assert heard == {it: last.version for it, last in manifests.items()}
    assert manifests[shard].state.view == view_of(sum_of(listener.foldings, stage))


def _require_measured(stage: Stage, crew: Crew) -> dict[str, float]:
    """Hold how far the workers say that their shards are behind against the last manifests, once all is quiet."""
    last = last_manifests(stage)
    events, seconds = dict.fromkeys(map(str, last), 0.0), dict.fromkeys(map(str, last), 0.0)
    for shard, manifest in last.items():
        for peer, known in manifest.peers.items():
            lacking = last[peer].state.events - known.events
            events[str(peer)] = max(events[str(peer)], lacking)
            if lacking and known.version:  # else there is no time from which it is behind
                late = (last[peer].created - known.created) / 1_000
                seconds[str(peer)] = max(seconds[str(peer)], late)
        assert manifest.peers.keys() == last.keys() - {shard}
    for metric, expected in (("events", events), ("seconds", seconds)):
        await_(
            f"the {metric} behind to be {expected}",
            lambda metric=metric, expected=expected: _greatest(crew, f"headrace_peer_{metric}_behind") == expected,
        )
    return events


def _greatest(crew: Crew, metric: str) -> dict[str, float]:
    """Give the greatest value of a metric that any worker shows, by its labels."""
    found: dict[str, float] = {}
    for worker in crew.living:
        for labels, value in worker.metric(metric).items():
            found[labels] = max(found.get(labels, value), value)
    return found


def _begin(stage: Stage, shard: int) -> int:
    with Tail(reader_settings(stage.config.kafka), stage.config.model.topic, shard) as tail:
        return tail.bounds()[0]


def _event(user: str) -> bytes:
    return orjson.dumps({"user": user, "item": "i1", "hour": 3, "device": "d1", "slot": "s2"})


def _user_of(stage: Stage, shard: int) -> str:
    """Find a frequent user whose events were sent to where a follower looks for it."""
    return next(
        f"u{user}"
        for user in range(shard, 200, stage.partitions)
        if partition(b"u%d" % user, stage.partitions, "murmur2") == shard
    )


def _entries(stage: Stage, event: bytes) -> Entries:
    learning = stage.config.learning
    decoded = Decoder(learning, labelled=False).decode([event], np.full(1, -1))
    assert not decoded.rejected
    return Features(learning).encode(decoded.table)
