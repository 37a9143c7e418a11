import threading
import time

from worker.observe.health import Health, Watchdog


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_alive_is_a_beat_younger_than_the_limit():
    clock = Clock()
    health = Health(10, clock)
    clock.now = 9.9
    assert health.why_not_alive() is None
    clock.now = 10.0
    assert "has not turned for 10.0 s" in health.why_not_alive()
    health.beat()
    assert health.why_not_alive() is None


def test_ready_is_said_and_needs_life():
    clock = Clock()
    health = Health(10, clock)
    assert health.why_not_ready() == "starting"
    health.set_ready(True)
    assert health.why_not_ready() is None
    health.set_ready(False, "restoring shard 3")
    assert health.why_not_ready() == "restoring shard 3"
    health.set_ready(True)
    clock.now = 10.0
    assert "has not turned" in health.why_not_ready()


def test_a_stall_dumps_every_stack_and_calls_once(tmp_path):
    told, called = [], threading.Event()

    def on_stall(reason):
        told.append(reason)
        called.set()

    with (tmp_path / "stacks").open("w+") as stacks:
        watchdog = Watchdog(Health(0.01, time.monotonic), on_stall, stacks)
        watchdog.start()
        assert called.wait(30)
        watchdog.stop()
        stacks.seek(0)
        dumped = stacks.read()
    assert len(told) == 1
    assert "has not turned" in told[0]
    assert "test_health.py" in dumped  # the stack of this very thread is among them


def test_a_loop_that_turns_is_left_alone(tmp_path):
    # Given a clock under our hand, and a watchdog that looks a hundred times a second
    clock, looked = Clock(), threading.Event()

    class Watched(Health):
        looks = 0

        def why_not_alive(self):
            Watched.looks += 1
            if Watched.looks == 5:
                looked.set()
            return super().why_not_alive()

    called = threading.Event()
    with (tmp_path / "stacks").open("w") as stacks:
        health = Watched(0.1, clock)
        watchdog = Watchdog(health, lambda _: called.set(), stacks)
        watchdog.start()
        # When it has looked five times and no time has passed, then it has not called; when time passes, it does.
        assert looked.wait(30)
        assert not called.is_set()
        clock.now = 1.0
        assert called.wait(30)
        watchdog.stop()


def test_a_watchdog_that_was_never_started_stops():
    Watchdog(Health(1, time.monotonic), lambda _: None).stop()
