"""What `headrace snapshot` tells of what stands in the model topic."""

import orjson

from tests.support.lineage import Writer, learning_of, versions
from worker.commands.snapshot import _listed
from worker.snapshots import Kept
from worker.stream.contributions import folding_of


def test_a_base_that_knows_of_other_shards_is_listed() -> None:
    writer, peer = (Writer(learning_of(merge=True), shard) for shard in range(2))
    peer.advance()
    (version,) = versions(peer.log, peer.learning, shard=1)
    writer.advance()
    writer.learn([])
    writer.commit([folding_of(version, peer.learning.model.factors)])
    writer.state.bytes_since_base = 2**40
    last = writer.advance()
    assert last.bases[-1].peers, "it has to know of one"
    listed = orjson.loads(orjson.dumps(_listed(Kept(shard=0, oldest_version=1, last=last))))
    assert listed["bases"][-1]["peers"]["1"]["version"] == 1
