import io
import json
import logging
import sys

import pytest

from worker.observe import log


@pytest.fixture
def record():
    made = logging.LogRecord("worker.stream.loop", logging.INFO, "f.py", 1, "shard %d", (3,), None)
    made.created = 1_700_000_000.25
    made.action = "commit"
    made.seconds = 0.5
    return made


def test_text_is_one_line_with_action_and_fields(record):
    assert log.TextFormatter().format(record) == "2023-11-14T22:13:20.250Z INFO    commit: shard 3 seconds=0.5"


def test_json_is_one_object_with_action_and_fields(record):
    assert json.loads(log.JsonFormatter().format(record)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "worker.stream.loop",
        "action": "commit",
        "message": "shard 3",
        "seconds": 0.5,
    }


def test_a_message_cannot_forge_a_line(record):
    record.msg, record.args = "a\n2023-11-14 ERROR fake", ()
    record.key = 'x y="1"\n'
    assert "\n" not in log.TextFormatter().format(record)
    assert "\n" not in log.JsonFormatter().format(record)


def test_a_field_cannot_take_the_place_of_a_standard_one(record):
    record.level = "fake"
    assert json.loads(log.JsonFormatter().format(record))["level"] == "info"


def test_an_exception_is_told_in_full(record):
    try:
        int("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError: invalid literal" in log.TextFormatter().format(record)
    assert "ValueError: invalid literal" in json.loads(log.JsonFormatter().format(record))["exception"]


@pytest.fixture
def root():
    """The root logger, given back as it was."""
    logger = logging.getLogger()
    handlers, level, ours = list(logger.handlers), logger.level, logging.getLogger("worker").level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.getLogger("worker").setLevel(ours)
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("root")
def test_setup_replaces_what_was_there_and_keeps_the_level():
    first, second = io.StringIO(), io.StringIO()
    log.setup("debug", "text", first)
    log.setup("warning", "json", second)
    logging.getLogger("worker.x").info("unheard")
    logging.getLogger("worker.x").warning("heard", extra={"action": "test"})
    assert first.getvalue() == ""
    assert [json.loads(line)["message"] for line in second.getvalue().splitlines()] == ["heard"]


@pytest.mark.usefixtures("root")
def test_libraries_do_not_debug_themselves_here():
    stream = io.StringIO()
    log.setup("debug", "text", stream)
    logging.getLogger("botocore.auth").debug("Authorization: secret")
    logging.getLogger("worker.stream.loop").debug("learned")
    logging.getLogger("botocore.auth").info("found credentials")
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["learned", "credentials"]


def test_what_is_told_again_and_again_is_told_once_in_a_while():
    now = [0.0]
    sparing = log.Sparing(lambda record: record.msg, seconds=10, clock=lambda: now[0])

    def passes(message: str) -> logging.LogRecord | None:
        record = logging.LogRecord("name", logging.ERROR, "", 0, message, None, None)
        return record if sparing.filter(record) else None

    assert passes("down") is not None
    assert passes("down") is None
    assert passes("something else") is not None
    assert passes("down") is None
    now[0] = 10.0
    told = passes("down")
    assert told is not None
    assert told.left_out == 2
