"""What may be handed through to librdkafka: its names, which of them a guarantee hangs on, and which are secret.

The names serve to find the nearest right one, and to tell a consumer's from a producer's. Whether a name exists is
decided by the installed librdkafka itself (`worker.stream.client.check`), which may be newer than this list.
"""

import re
from typing import Final

# From rd_kafka_conf_properties_show() of librdkafka 2.16; callbacks and internal names left out.
BOTH: Final = frozenset(
    """
    allow.auto.create.topics api.version.fallback.ms api.version.request api.version.request.timeout.ms
    bootstrap.servers broker.address.family broker.address.ttl broker.version.fallback client.dns.lookup client.id
    client.rack connections.max.idle.ms debug enable.metrics.push enable.random.seed
    enable.sasl.oauthbearer.unsecure.jwt enable.ssl.certificate.verification https.ca.location https.ca.pem
    internal.termination.signal log.connection.close log.queue log.thread.name log_level max.in.flight
    max.in.flight.requests.per.connection message.copy.max.bytes message.max.bytes metadata.broker.list
    metadata.max.age.ms metadata.recovery.rebootstrap.trigger.ms metadata.recovery.strategy plugin.library.paths
    receive.message.max.bytes reconnect.backoff.jitter.ms reconnect.backoff.max.ms reconnect.backoff.ms
    retry.backoff.max.ms retry.backoff.ms sasl.kerberos.keytab sasl.kerberos.kinit.cmd
    sasl.kerberos.min.time.before.relogin sasl.kerberos.principal sasl.kerberos.service.name sasl.mechanism
    sasl.mechanisms sasl.oauthbearer.assertion.algorithm sasl.oauthbearer.assertion.claim.aud
    sasl.oauthbearer.assertion.claim.exp.seconds sasl.oauthbearer.assertion.claim.iss
    sasl.oauthbearer.assertion.claim.jti.include sasl.oauthbearer.assertion.claim.nbf.seconds
    sasl.oauthbearer.assertion.claim.sub sasl.oauthbearer.assertion.file
    sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.assertion.private.key.file
    sasl.oauthbearer.assertion.private.key.passphrase sasl.oauthbearer.assertion.private.key.pem
    sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret
    sasl.oauthbearer.client.id sasl.oauthbearer.client.secret sasl.oauthbearer.config sasl.oauthbearer.extensions
    sasl.oauthbearer.grant.type sasl.oauthbearer.metadata.authentication.type sasl.oauthbearer.method
    sasl.oauthbearer.scope sasl.oauthbearer.sub.claim.name sasl.oauthbearer.token.endpoint.url sasl.password
    sasl.username security.protocol socket.blocking.max.ms socket.connection.setup.timeout.ms
    socket.keepalive.enable socket.max.fails socket.nagle.disable socket.receive.buffer.bytes
    socket.send.buffer.bytes socket.timeout.ms ssl.ca.certificate.stores ssl.ca.location ssl.ca.pem
    ssl.certificate.location ssl.certificate.pem ssl.cipher.suites ssl.crl.location ssl.curves.list
    ssl.endpoint.identification.algorithm ssl.engine.id ssl.engine.location ssl.key.location ssl.key.password
    ssl.key.pem ssl.keystore.location ssl.keystore.password ssl.providers ssl.sigalgs.list statistics.interval.ms
    topic.blacklist topic.metadata.propagation.max.ms topic.metadata.refresh.fast.cnt
    topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.interval.ms topic.metadata.refresh.sparse
    """.split()  # noqa: SIM905 - a list of quoted names would not fit on a screen
)
CONSUMER: Final = frozenset(
    """
    auto.commit.enable auto.commit.interval.ms auto.offset.reset check.crcs consume.callback.max.messages
    coordinator.query.interval.ms enable.auto.commit enable.auto.offset.store enable.partition.eof
    fetch.error.backoff.ms fetch.max.bytes fetch.message.max.bytes fetch.min.bytes fetch.queue.backoff.ms
    fetch.wait.max.ms group.id group.instance.id group.protocol group.protocol.type group.remote.assignor
    heartbeat.interval.ms isolation.level max.partition.fetch.bytes max.poll.interval.ms max.poll.records
    offset.store.method offset.store.path offset.store.sync.interval.ms partition.assignment.strategy
    queued.max.messages.kbytes queued.min.messages session.timeout.ms share.acknowledgement.mode
    """.split()  # noqa: SIM905 - a list of quoted names would not fit on a screen
)
PRODUCER: Final = frozenset(
    """
    acks batch.num.messages batch.size compression.codec compression.level compression.type
    delivery.report.only.error delivery.timeout.ms enable.gapless.guarantee enable.idempotence linger.ms
    message.send.max.retries message.timeout.ms partitioner produce.offset.report
    queue.buffering.backpressure.threshold queue.buffering.max.kbytes queue.buffering.max.messages
    queue.buffering.max.ms queuing.strategy request.required.acks request.timeout.ms retries
    sticky.partitioning.linger.ms transaction.timeout.ms transactional.id
    """.split()  # noqa: SIM905 - a list of quoted names would not fit on a screen
)
NAMES: Final = BOTH | CONSUMER | PRODUCER

_ALWAYS_COMMITTED = "offsets are committed in one transaction with what was learned from them"
_IDEMPOTENT = "exactly once hangs on an idempotent producer and on all replicas: it is always set so"

GUARDED: Final = {
    # Where and as whom: set once, for every client alike.
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "group.id": "set kafka.group",
    "group.instance.id": "set kafka.instance_id",
    "group.protocol": "set kafka.group_protocol",
    "group.protocol.type": "it is always that of consumers",
    "group.remote.assignor": "set kafka.assignor",
    "partition.assignment.strategy": "set kafka.assignor",
    "session.timeout.ms": "set kafka.session_timeout_seconds",
    "max.poll.interval.ms": "set run.stall_seconds, from which it follows",
    # Exactly once: what is read, when it counts as read, and what goes out with it.
    "enable.auto.commit": _ALWAYS_COMMITTED,
    "auto.commit.enable": _ALWAYS_COMMITTED,
    "auto.commit.interval.ms": _ALWAYS_COMMITTED,
    "enable.auto.offset.store": _ALWAYS_COMMITTED,
    "offset.store.method": _ALWAYS_COMMITTED,
    "auto.offset.reset": "set events.start",
    "isolation.level": "only committed records are read, always",
    "enable.partition.eof": "it is set where the end of a partition is asked for",
    "enable.idempotence": _IDEMPOTENT,
    "acks": _IDEMPOTENT,
    "request.required.acks": _IDEMPOTENT,
    "transactional.id": "it is made from kafka.group",
    "transaction.timeout.ms": "set kafka.transaction_timeout_seconds",
    "message.timeout.ms": "set kafka.transaction_timeout_seconds, which bounds it",
    "delivery.timeout.ms": "set kafka.transaction_timeout_seconds, which bounds it",
    "delivery.report.only.error": "every delivery is accounted for",
    # Where and how large: a shard's records go to its own partition, and the topic alone limits their size.
    "partitioner": "set events.partitioner; a shard's model goes to the shard's own partition",
    "message.max.bytes": "the limit is the topic's: set max.message.bytes there",
    "test.mock.num.brokers": "a mock cluster has no transactions to rely on",
    "test.mock.broker.rtt": "a mock cluster has no transactions to rely on",
}

_SECRET = re.compile(
    r"password|passphrase|secret|token|jaas|private\.key\.pem|pem$|oauthbearer\.config|credential", re.IGNORECASE
)
_USER_INFO = re.compile(r"""(?:^|(?<=[/,\s"'=]))[^/,\s@"'=]+:[^/,\s@]*@""")
MASK: Final = "********"


def is_secret(name: str) -> bool:
    """Tell by its name whether a setting holds a secret.

    >>> is_secret("ssl.key.pem"), is_secret("ssl.key.location")
    (True, False)
    """
    return _SECRET.search(name) is not None


def mask(text: str, *secrets: str) -> str:
    """Hide the secrets that are known, and the user and password of every address, in a text.

    >>> mask("ann:s3cret@kafka:9092 refused hunter2", "hunter2")
    '********@kafka:9092 refused ********'
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return _USER_INFO.sub(f"{MASK}@", text)
