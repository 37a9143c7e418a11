"""Messages of a consumer as records: columns, every byte of them."""

from itertools import chain

import numpy as np
import pyarrow as pa
from confluent_kafka import Message

from worker.recording.records import HEADERS, Records, no_headers


def records_of(messages: list[Message]) -> Records:
    """Take messages of one partition apart, in the order of their offsets; there is at least one, and none an error."""
    first = messages[0]
    count = len(messages)
    times = np.fromiter(chain.from_iterable(map(Message.timestamp, messages)), np.int64, 2 * count).reshape(count, 2)
    headers = list(map(Message.headers, messages))
    return Records(
        topic=first.topic(),
        partition=first.partition(),
        offsets=np.fromiter(map(Message.offset, messages), np.int64, count),
        timestamps=times[:, 1].copy(),
        timestamp_types=times[:, 0].astype(np.int8),
        keys=pa.array(list(map(Message.key, messages)), pa.large_binary()),
        values=pa.array(list(map(Message.value, messages)), pa.large_binary()),
        headers=pa.array(headers, HEADERS) if any(headers) else no_headers(count),
    )
