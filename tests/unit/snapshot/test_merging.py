"""Shards that merge: whatever the order of commits, folds, restarts and trims, everything is added exactly once."""

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.lineage import NOW, Partition, Writer, events, learning_of, tampered, versions
from worker.config import Config
from worker.errors import CorruptSnapshotError
from worker.events.hashing import key_of
from worker.model.batch import SHARED
from worker.model.ledger import Contribution
from worker.snapshot.lineage import advance, apply, verify
from worker.snapshot.manifest import Manifest
from worker.snapshot.records import Kind, decode_rows, encode_contribution
from worker.snapshot.sealing import Folded, Folding
from worker.snapshot.state import ShardState
from worker.stream import merging
from worker.stream.contributions import folding_of

SHARDS = range(3)
FACTORS = 4
LEARNING = learning_of(factors=FACTORS, merge=True)
CONFIG = Config.model_validate({"features": {"user": {}, "item": {}}, "model": {"factors": FACTORS, "merge": True}})
FEW = {"users": 40, "items": 40}  # so that shards meet in most items
# A part of a base takes 33 rows or 10 entries of a ledger, so that a base takes some five commits.
SMALL = {"base_part_bytes": 1_500, "record_limit_bytes": 20_480}
ALL = (1_000_000, 1_000_000)  # newer versions of the two others to fold in: more than there are

Sums = dict[int, tuple[int, ...]]  # amounts by key, where some are not zero
Bits = tuple[bytes, ...]


@pytest.fixture(autouse=True)
def bases_early(monkeypatch):
    """Let a base be due as soon as what was written since the last one outweighs it, however small."""
    monkeypatch.setattr("tests.support.lineage.Writer.base_after_bytes", 0)


class Shards:
    """Three shards that learn, commit, fold one another in, die and come back; and what they should hold by then."""

    def __init__(
        self, *, keep_bases: int = 2, half_life: str = "off", max_rows: int = 0, admit_after: int = 0, **small: int
    ) -> None:
        self.learning = learning_of(
            factors=FACTORS, merge=True, half_life=half_life, max_rows=max_rows, admit_after=admit_after,
            admission_counters=1_024,
        )  # fmt: skip
        self.fades = half_life != "off"
        self.writers = [Writer(self.learning, shard, keep_bases=keep_bases, **(SMALL | small)) for shard in SHARDS]
        self.published: list[list[Folding]] = [[] for _ in SHARDS]  # by shard, version after version
        self.sums: list[list[Sums]] = [[{}] for _ in SHARDS]  # by shard: of its versions up to the one of that number
        self.backlogs: list[list[Folding]] = [[] for _ in SHARDS]
        self.bits: list[Bits | None] = [None for _ in SHARDS]  # of the shared rows, after the last commit
        self.anew = 0  # restarts that could not go back to what was known, since it was trimmed
        self._seed = 0
        for shard in SHARDS:
            self.restart(shard)

    def learn(self, shard: int, n: int, *, after: int = 0, **few: int) -> None:
        self._seed += 1
        # Clocks that jump: the last event that any shard saw of an item need not be the last that was published.
        start = NOW + (self._seed * 7_919) % 60_000 + after
        self.writers[shard].learn(events(n, self._seed, **(FEW | few), start=start))

    def commit(self, shard: int, folds: tuple[int, int] = (0, 0)) -> Manifest:
        """Commit, folding in the backlog of a restart, and so many of the newer versions of each of the two others."""
        writer, foldings = self.writers[shard], self.backlogs[shard]
        known = writer.state.peers | {folding.shard: folding.peer for folding in foldings}
        for peer, count in zip([peer for peer in SHARDS if peer != shard], folds, strict=True):
            done = known[peer].version if peer in known else 0
            foldings = [*foldings, *self.published[peer][done : done + count]]
        first = writer.next_offset
        manifest = writer.commit(foldings[::-1])  # the order in which they come makes no difference
        self.backlogs[shard] = []
        (version,) = versions(writer.log, self.learning, shard=shard, start=first)
        self.published[shard].append(folding_of(version, FACTORS))
        self.sums[shard].append(added(self.sums[shard][-1], amounts_of(self.published[shard][-1].contribution)))
        self.bits[shard] = bits(writer.state)
        assert len(writer.state.model.table) <= (max_rows := self.learning.model.max_rows) or not max_rows
        self.check(shard)
        return manifest

    def restart(self, shard: int) -> None:
        """Forget what is not committed, and come back as a worker does."""
        writer = self.writers[shard]
        manifest = writer.manifests[-1] if writer.manifests else None
        state = ShardState.fresh(shard, self.learning)
        if manifest is not None:
            for version in versions(writer.log, self.learning, shard=shard, start=manifest.bases[-1].offset):
                apply(state, version)
            verify(state, manifest)
        writer.state, self.backlogs[shard] = state, self.recall(state, manifest)
        self.check(shard)
        if manifest is None or state.peers == manifest.peers:
            assert self.bits[shard] in (None, bits(state)), "as it was committed, to the bit"
        else:
            self.anew += 1
            assert all(state.peers[peer].version >= known.version for peer, known in manifest.peers.items())

    def recall(self, state: ShardState, manifest: Manifest | None) -> list[Folding]:
        others = [shard for shard in SHARDS if shard != state.shard]
        return merging.recall(CONFIG, state, manifest, others, lambda shard: Partition(self.writers[shard]))

    def trim(self, shard: int) -> None:
        if self.writers[shard].manifests:
            self.writers[shard].trim()

    def check(self, shard: int) -> None:
        """Hold what a shard knows against the sum of what was published up to the versions that it names."""
        if self.fades:
            return  # amounts are no plain sums then
        state = self.writers[shard].state
        shared = state.model.shared
        own = self.sums[shard][state.version]
        assert amounts_of(shared.own.all()) == own
        if shared.bounded:
            assert len(shared.own) == len(own) <= self.learning.model.max_rows + len(shared.pair_keys), "no zeros"
        others = [self.sums[peer][known.version] for peer, known in state.peers.items()]
        assert amounts_of(shared.merged.all()) == added(own, *others)

    def fold_all(self) -> None:
        """Let every shard know what all have published, the last version of each included."""
        for shard in SHARDS:
            self.commit(shard, ALL)
        for shard in SHARDS:
            state = self.writers[shard].state
            for peer in SHARDS:
                done = state.peers[peer].version if peer in state.peers else 0
                for folding in self.published[peer][done:] if peer != shard else []:
                    state.model.shared.merged.add(folding.contribution)
                    state.peers[peer] = folding.peer
            state.model.renew(state.model.shared.merged.all().keys)
            state.model.table.settle()
            self.check(shard)


def amounts_of(contribution: Contribution) -> Sums:
    pairs = zip(contribution.keys.tolist(), contribution.amounts.tolist(), strict=True)
    return {key: tuple(amounts) for key, amounts in pairs if any(amounts)}


def added(*sums: Sums) -> Sums:
    """Add up amounts, in the unbounded integers of Python."""
    total: Sums = {}
    for some in sums:
        for key, amounts in some.items():
            held = total.get(key)
            total[key] = amounts if held is None else tuple(one + other for one, other in zip(held, amounts))  # noqa: B905
    return {key: amounts for key, amounts in total.items() if any(amounts)}


def bits(state: ShardState) -> Bits:
    """Give the shared rows of a shard as they stand in its table, in the order of their keys, and its pairs."""
    table, model = state.model.table, state.model
    rows = table.part(0, len(table))
    rows = rows[(rows.keys & SHARED) != 0]
    order = np.argsort(rows.keys)
    keys = rows.keys[order]
    arrays = (keys, rows.seen[order], model.gather(keys), model.pair_means, model.pair_precisions)
    return tuple(array.tobytes() for array in arrays)


def served(state: ShardState) -> Bits:
    """Give the shared rows as they would be served: what a shard learns on from depends on what it has added itself."""
    shared = state.model.shared
    shared.own = shared.merged
    if not shared.bounded:
        state.model.renew(shared.merged.all().keys)
        return bits(state)
    state.model.recall()
    return bits(state)[0], *bits(state)[2:]  # of rows that were evicted and met again, when is not told


COMMIT = st.tuples(st.just("commit"), st.sampled_from(SHARDS), st.integers(0, 40), st.integers(0, 9), st.integers(0, 9))
RESTART = st.tuples(st.just("restart"), st.sampled_from(SHARDS), st.integers(0, 40))
TRIM = st.tuples(st.just("trim"), st.sampled_from(SHARDS))
LOOSEN = st.tuples(st.just("loosen"), st.sampled_from(SHARDS), st.sampled_from([0.01, 3.0]))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(COMMIT, COMMIT, RESTART, TRIM, LOOSEN), min_size=5, max_size=60),
    st.sampled_from([1, 2]),
    st.sampled_from([0, 0, 16, 40]),
    st.sampled_from([0, 0, 2]),
)
def test_everything_is_added_once_however_shards_commit_fold_die_and_trim(steps, keep_bases, max_rows, admit_after):
    """And taken back once, where rows are evicted or loosened."""
    shards = Shards(keep_bases=keep_bases, max_rows=max_rows, admit_after=admit_after)
    for step, shard, *numbers in steps:
        if step == "commit":
            shards.learn(shard, numbers[0])
            shards.commit(shard, tuple(numbers[1:]))
        elif step == "restart":
            shards.learn(shard, numbers[0])  # and lose it
            shards.restart(shard)
        elif step == "loosen":
            shards.writers[shard].state.model.loosen(*numbers)
        else:
            shards.trim(shard)
    shards.fold_all()
    states = [writer.state for writer in shards.writers]
    whole = states[0].model.shared.own.empty()
    for state in states:
        whole.add(state.model.shared.own.all())
    assert {state.model.shared.merged.digest for state in states} == {whole.digest}
    assert len({served(state) for state in states}) == 1


@pytest.mark.parametrize("admit_after", [0, 2])
@pytest.mark.parametrize("max_rows", [0, 40])
def test_a_shard_comes_back_to_the_bit_at_every_version_while_bases_travel_in_parts(max_rows, admit_after):
    shards = Shards(max_rows=max_rows, admit_after=admit_after)
    middle = 0
    for number in range(40):
        for shard in SHARDS:
            shards.learn(shard, 20)
            if number % 5 == shard:
                shards.writers[shard].state.model.loosen(3.0)
                shards.learn(shard, 5)
            shards.commit(shard, (number % 4, number % 3))
        if number % 2:
            continue  # so that some bases become complete
        middle += shards.writers[0].state.sweep is not None
        shards.restart(0)
        assert shards.anew == 0, "nothing was trimmed, so it is what it was"
    # Then that was also in the middle of bases, ledgers of which travelled in several parts
    assert middle > 5
    writer = shards.writers[1]
    parts = [manifest.began for manifest in writer.manifests for part in manifest.records if part.kind is Kind.LEDGER]
    assert max(parts.count(base.version) for base in writer.manifests[-1].bases) >= 2


@pytest.mark.parametrize("max_rows", [0, 40])
def test_what_fades_comes_back_to_the_bit_too_from_shards_hours_apart(max_rows):
    # Given three shards, of which one is five half-lives behind, and versions of which are folded in early or late
    shards = Shards(half_life="1h", max_rows=max_rows)
    hour = 3_600_000
    for number in range(30):
        for shard in SHARDS:
            shards.learn(shard, 40, after=number * hour // 5 - 5 * hour * (shard == 2))
            if number % 5 == shard:
                shards.writers[shard].state.model.loosen(3.0)
                shards.learn(shard, 10, after=number * hour // 5 + hour - 5 * hour * (shard == 2))
            shards.commit(shard, (number % 4, number % 3))
        # When one dies, then it comes back as it was
        shards.restart(number % 3)
        assert shards.anew == 0, "nothing was trimmed, so it is what it was"
    # and in the end all know the same, whatever the order in which it came to them
    shards.fold_all()
    assert len({served(writer.state) for writer in shards.writers}) == 1
    assert np.isfinite(shards.writers[0].state.model.table.parameters).all()


def test_a_base_that_a_restart_cut_off_is_begun_anew_and_counted_once():
    # Given a shard that dies when a base is half sent
    shards = Shards()
    writer = shards.writers[0]

    def go_on():
        for shard in SHARDS:
            shards.learn(shard, 20)
            shards.commit(shard, ALL)

    for _ in range(50):
        if writer.state.sweep is not None and writer.state.sweep.next_entry:
            break
        go_on()
    cut_off = writer.state.sweep.version
    shards.restart(0)
    assert writer.state.sweep is None
    # When it has sent another one
    for _ in range(50):
        if writer.manifests[-1].bases[-1].version > cut_off:
            break
        go_on()
    # Then a restart from it adds up its ledger, and not the part of the other
    assert any(manifest.began == cut_off for manifest in writer.manifests)
    shards.restart(0)
    assert shards.anew == 0


def test_a_row_that_only_others_moved_since_is_read_back_with_its_own_time():
    """The event times of a ledger are two: of this shard's last update, which its digest knows, and of anybody's."""

    def one(user: str, item: str, seconds: int) -> list[bytes]:
        return [orjson.dumps({"user": user, "item": item, "label": 1, "time": NOW + 1_000 * seconds})]

    shards = Shards(base_part_bytes=100_000)
    shards.writers[0].learn(one("a", "rare", 1))
    shards.commit(0)
    shards.writers[1].learn(one("b", "rare", 100))
    shards.commit(1)
    shards.commit(0, ALL)
    for number in range(6):
        shards.writers[0].learn(one("a", "other", number))
        shards.commit(0)
    assert shards.writers[0].manifests[-1].bases[-1].version > 2
    shards.restart(0)
    shared, rare = shards.writers[0].state.model.shared, np.array([key_of("item", "rare") | SHARED])
    assert shared.own.get(rare).seen.tolist() == [NOW + 1_000]
    assert shared.merged.get(rare).seen.tolist() == [NOW + 100_000]


def test_what_the_others_have_trimmed_is_had_from_their_bases():
    # Given a shard that knows some of what the others added
    shards = Shards()
    for shard in (1, 2, 0):
        shards.learn(shard, 20)
        shards.commit(shard, ALL)
    # When it is away until the others have trimmed that
    for _ in range(20):
        for shard in (1, 2):
            shards.learn(shard, 20)
            shards.commit(shard, ALL)
            shards.trim(shard)
    assert all(shards.writers[shard].first_offset > 0 for shard in (1, 2))
    shards.restart(0)
    # Then it knows all that they have added by now, once (`restart` holds it against that), and goes on
    assert shards.anew == 1
    assert {known.version for known in shards.writers[0].state.peers.values()} == {21}
    shards.learn(0, 20)
    shards.commit(0, ALL)
    shards.restart(0)


def test_a_late_shard_takes_all_in_at_its_first_commit():
    shards = Shards()
    for _ in range(20):
        for shard in (1, 2):
            shards.learn(shard, 20)
            shards.commit(shard, ALL)
            shards.trim(shard)
    shards.restart(0)
    assert {folding.shard: folding.peer.version for folding in shards.backlogs[0]} == {1: 20, 2: 20}
    shards.learn(0, 5)
    manifest = shards.commit(0)
    assert {peer: known.version for peer, known in manifest.peers.items()} == {1: 20, 2: 20}


def test_the_order_in_which_versions_of_others_are_known_makes_no_difference():
    """Two shards learn; the third learns nothing: it folds them in one by one, or all at once."""
    views, rows = set(), set()
    for folds in ([(1, 0), (0, 3), (9, 9)], [(9, 9), (0, 0), (0, 0)], [(0, 9), (9, 0), (0, 0)]):
        shards = Shards()
        for shard in (0, 1):
            for _ in range(5):
                shards.learn(shard, 30)
                shards.commit(shard)
        for some in folds:
            manifest = shards.commit(2, some)
        views.add(manifest.state.view)
        rows.add(bits(shards.writers[2].state))
    assert len(views) == len(rows) == 1


def test_how_far_folding_moved_the_shared_rows_is_measured():
    # Given a shard whose rows are those of its own events, and another one that met some of the same items
    shards = Shards()
    for shard in (0, 1):
        shards.learn(shard, 60)
        shards.commit(shard)
    writer, theirs = shards.writers[0], shards.published[1][0]
    shared = writer.state.model.shared
    keys = theirs.contribution.keys[~np.isin(theirs.contribution.keys, shared.pair_keys)]
    before = writer.state.model.table.gather(keys).astype(np.float64)
    # When it folds them in
    sealed = writer.seal([theirs])
    # Then that is how far their weights are from where they were, in standard deviations, and nothing else counts
    after = writer.state.model.table.gather(keys).astype(np.float64)
    moves = (after[:, 0] - before[:, 0]) / (1 / np.sqrt(after[:, 1]))
    assert sealed.folded.rows == len(theirs.contribution)
    assert sealed.folded.distance == pytest.approx(np.sqrt(np.mean(moves**2)), rel=1e-6)
    assert sealed.folded.distance > 0.01
    # and where nothing is folded in, there is no distance
    assert shards.writers[1].seal().folded == Folded()


def test_records_tell_local_rows_from_shared_ones():
    shards = Shards()
    shards.learn(0, 50)
    shards.commit(0)
    (version,) = versions(shards.writers[0].log, LEARNING)
    local = np.concatenate([decode_rows(record.value, FACTORS).keys for record in version.of_kind(Kind.ROWS)])
    shared = shards.published[0][0].contribution.keys
    assert not (local & SHARED).any()
    assert (shared & SHARED).all()
    users, items = (set(np.unique(rows)) for rows in (local, shared))
    assert len(users) + len(items) == len(shards.writers[0].state.model.table) + 3, "the pairs of three fields"
    assert version.of_kind(Kind.PAIRS) == []


def test_a_version_whose_digest_does_not_hold_is_taken_back_from_the_ledgers():
    shards = Shards()
    for _ in range(2):
        shards.learn(0, 50)
        shards.commit(0)
    first, second = versions(shards.writers[0].log, LEARNING)
    contribution = shards.published[0][1].contribution
    contribution.amounts[0, 0] += 1
    for number, record in enumerate(second.data):
        if record.kind is Kind.CONTRIBUTION:
            second.data[number] = tampered(record, encode_contribution(contribution))
    state = ShardState.fresh(0, LEARNING)
    apply(state, first)
    before = amounts_of(state.model.shared.own.all())
    with pytest.raises(CorruptSnapshotError, match="version 2 has digest"):
        advance(state, second)
    assert amounts_of(state.model.shared.own.all()) == amounts_of(state.model.shared.merged.all()) == before


def test_a_view_that_is_not_the_one_published_is_refused(monkeypatch):
    shards = Shards()
    for shard in (1, 0):
        shards.learn(shard, 20)
        shards.commit(shard, ALL)
    contribution = shards.published[1][0].contribution
    contribution.amounts[0, 0] += 1
    monkeypatch.setattr(merging, "ever", lambda *_: [shards.published[1][0]])
    with pytest.raises(CorruptSnapshotError, match=r"at version 1 the shared rows have digest .* as written"):
        shards.restart(0)
