"""Brokers are restarted and die while workers learn; the model is, to the bit, that of one uninterrupted pass."""

import signal
from pathlib import Path

from deploy.broker import broker
from tests.support.crew import Crew
from tests.support.ends import Ends
from tests.support.feed import Feed
from tests.support.patience import await_
from tests.support.stage import Stage, set_stage
from tests.support.verdict import await_all_learned, require_exactly_once, require_one_chain
from worker.errors import BrokerUnreachableError, FencedError

EVENTS_PER_SECOND = 2_000
# A worker lives through an outage, or ends with one of these and is started again by whoever looks after it.
ALLOWED = (BrokerUnreachableError.exit_code, FencedError.exit_code)


def test_a_lone_broker_that_is_killed_and_comes_back_costs_nothing(unique: str, tmp_path: Path) -> None:
    with broker(own=True, brief=True) as kafka:
        stage = set_stage(kafka, unique, tmp_path)
        with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
            # Given two workers that learn while events arrive
            feed.begin(EVENTS_PER_SECOND)
            crew.start().await_commit()
            crew.start().await_commit()

            # When the only broker dies and comes back
            _stop_between_transactions(crew, ends)
            kafka.stop_node(1, kill=True)
            crew.send(signal.SIGCONT)
            kafka.start_node(1)
            _await_commit(crew)

            # Then nothing was lost and nothing was learned twice
            _finish(stage, feed, crew)


def test_a_lone_broker_that_is_away_for_longer_than_a_transaction_costs_nothing(unique: str, tmp_path: Path) -> None:
    with broker(own=True, brief=True) as kafka:
        # The session outlasts the broker's stop: were it over before, shards would be given up, and nothing committed.
        stage = set_stage(
            kafka, unique, tmp_path, kafka={"transaction_timeout_seconds": 2, "session_timeout_seconds": 10}
        )
        with Feed(stage) as feed, Crew(stage, tmp_path) as crew, Ends(stage) as ends:
            # Given a worker that learns while events arrive
            feed.begin(EVENTS_PER_SECOND)
            first = crew.start()
            first.await_commit()

            # When the only broker is stopped, and comes back after the worker gave up a transaction
            _stop_between_transactions(crew, ends)
            kafka.stop_node(1)
            crew.send(signal.SIGCONT)
            first.await_log("abort: |headrace: ")
            kafka.start_node(1)
            _await_commit(crew)

            # Then nothing was lost and nothing was learned twice
            _finish(stage, feed, crew)


def test_any_node_of_three_may_die(unique: str, tmp_path: Path) -> None:
    with broker(nodes=3) as kafka:
        stage = set_stage(kafka, unique, tmp_path, replication=3)
        for topic in (stage.config.events.topic, stage.config.model.topic, stage.config.dead_letter.topic):
            stage.alter(topic, min_insync_replicas="2")
        with Feed(stage) as feed, Crew(stage, tmp_path) as crew:
            # Given two workers that learn while events arrive
            feed.begin(EVENTS_PER_SECOND)
            crew.start().await_commit()
            crew.start().await_commit()

            # When each node dies in its turn, first the leader of a model partition, then the group's coordinator:
            # so the coordinator of every worker's transactions is among them
            for node in dict.fromkeys([_leader(stage), _coordinator(stage), *kafka.nodes]):
                kafka.stop_node(node, kill=True)
                _await_commit(crew)  # the other two are enough
                kafka.start_node(node)
                _await_in_sync(stage)

            # Then nothing was lost and nothing was learned twice
            _finish(stage, feed, crew)


def _finish(stage: Stage, feed: Feed, crew: Crew) -> None:
    feed.stop()
    feed.flush()
    await_all_learned(stage, lambda: crew.replace_the_ended(*ALLOWED))
    for worker in crew.living:
        worker.leave()
    # One whose client never finds the coordinator again (librdkafka #5511) ends as documented, when it is asked to too
    assert {worker.exit_code() for worker in crew.workers if worker.leaving} <= {0, *ALLOWED}
    require_exactly_once(stage, feed)
    require_one_chain(stage)


def _stop_between_transactions(crew: Crew, ends: Ends) -> None:
    """Stop the workers at a moment when no transaction is open.

    A lone broker that goes away half way through a commit breaks it for good (Kafka 4.3.1): it tells the client that
    it is done, takes the partitions, which have no leader any more, for deleted ones, and leaves out their markers.
    With replicas a partition always has a leader: the test with three brokers kills at any moment.
    """

    def look() -> bool:
        crew.send(signal.SIGSTOP)
        if ends.settled():
            return True
        crew.send(signal.SIGCONT)
        return False

    await_("a moment without a transaction", look)


def _await_commit(crew: Crew) -> None:
    before = crew.commits

    def look() -> bool:
        crew.replace_the_ended(*ALLOWED)
        return crew.commits > before

    await_("a commit of any worker", look)


def _leader(stage: Stage) -> int:
    topic = stage.config.model.topic
    return int(stage.admin.list_topics(topic, timeout=30).topics[topic].partitions[0].leader)


def _coordinator(stage: Stage) -> int:
    group = stage.config.kafka.group
    return int(stage.admin.describe_consumer_groups([group])[group].result(30).coordinator.id)


def _await_in_sync(stage: Stage) -> None:
    def look() -> bool:
        topics = stage.admin.list_topics(timeout=30).topics.values()
        return all(
            len(partition.isrs) == len(partition.replicas)
            for topic in topics
            for partition in topic.partitions.values()
        )

    await_("all replicas in sync", look)
