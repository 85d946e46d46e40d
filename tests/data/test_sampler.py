"""Which images a batch holds: decided by seed and epoch, shared by processes, resumed anywhere."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featherbone.data.dataset import Dataset
from featherbone.data.sampler import _MIXED as MIXED
from featherbone.data.sampler import EpochBatches
from featherbone.data.sources.cache import Cache, RemoteFile
from featherbone.data.sources.remote import RemoteMember
from featherbone.errors import InputError


def images(count: int, groups: tuple[int, ...] = ()) -> Dataset[int]:
    return Dataset(tuple(Path(str(i)) for i in range(count)), (0,) * count, groups)


@settings(deadline=None)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 20),
    world=st.integers(1, 4),
    start=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_processes_share_every_batch_and_a_resumed_epoch_is_its_rest(
    count: int, batch_size: int, world: int, start: int, seed: int
) -> None:
    def batches(rank: int = 0, world: int = 1) -> EpochBatches:
        order = EpochBatches(images(count), batch_size, shuffle=True, seed=seed, rank=rank, world=world)
        order.set_epoch(3)
        return order

    batch_size = max(batch_size, world)
    if count < world:
        with pytest.raises(InputError, match=f"{count} images are too few for {world} processes"):
            batches(0, world)
        return
    whole = list(batches())
    assert sorted(i for batch in whole for _, i in batch) == list(range(count))
    assert [len(batch) for batch in whole] == [batches().size(number) for number in range(len(whole))]
    shares = [list(batches(rank, world)) for rank in range(world)]
    assert all(batch for share in shares for batch in share)
    assert {len(whole) - len(share) for share in shares} <= {0, 1}
    for number, batch in enumerate(whole):
        assert sorted(pair for share in shares for pair in (*share, [])[number]) == sorted(batch)
        assert batches().places(number) == batch
    resumed = batches()
    resumed.start = start
    assert list(resumed) == whole[start:]
    assert list(resumed) == whole  # only the first pass is a rest


@settings(deadline=None)
@given(
    groups=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    seed=st.integers(0, 99),
    epoch=st.integers(0, 9),
    start=st.integers(0, 20),
)
def test_few_groups_are_open_at_a_time(groups: list[int], seed: int, epoch: int, start: int) -> None:
    """A group is open from the first of its images to the last: so long it has to lie here."""

    def batches() -> EpochBatches:
        order = EpochBatches(images(sum(groups), tuple(groups)), 4, shuffle=True, seed=seed)
        order.set_epoch(epoch)
        return order

    whole = list(batches())
    seen = [i for batch in whole for _, i in batch]
    assert sorted(seen) == list(range(sum(groups)))
    owner = [number for number, size in enumerate(groups) for _ in range(size)]
    read = [owner[i] for i in seen]
    spans = [(read.index(group), len(read) - 1 - read[::-1].index(group)) for group in set(read)]
    assert max(sum(first <= place <= last for first, last in spans) for place in range(len(read))) <= MIXED
    resumed = batches()
    resumed.start = start
    assert list(resumed) == whole[start:]


def test_images_of_several_groups_meet_in_a_batch() -> None:
    """Even where every group is a class, and from the first batch to the last."""
    sizes = (200,) * 12
    owner = [number for number, size in enumerate(sizes) for _ in range(size)]
    for seed in range(5):
        order = EpochBatches(images(sum(sizes), sizes), 64, shuffle=True, seed=seed)
        met = [len({owner[i] for _, i in batch}) for batch in order]
        assert min(met) >= 2
        assert sorted(met)[len(met) // 2] >= MIXED


def test_a_last_batch_of_too_few_is_left_out() -> None:
    assert [len(batch) for batch in EpochBatches(images(9), 4, least=2)] == [4, 4]
    assert [len(batch) for batch in EpochBatches(images(10), 4, least=2)] == [4, 4, 2]


@settings(deadline=None)
@given(shard=st.integers(1, 30 * 10**9), count=st.integers(1, 12), room=st.integers(1, 60 * 10**9))
def test_the_cache_holds_what_is_read_at_a_time(shard: int, count: int, room: int) -> None:
    cache = Cache(Path(), room)
    sources = [RemoteMember(cache, RemoteFile(f"memory://{i}", shard, ""), "a.png", 0, 1) for i in range(count)]
    remote = Dataset.of([(source, 0) for source in sources])
    wanted = 4 if 5 * shard <= 20 * 10**9 else max(1, 20 * 10**9 // shard - 1)  # whatever the room is here
    if wanted > 1 and room < min(wanted + 1, count) * shard:
        with pytest.raises(InputError, match=r"FEATHERBONE_CACHE_GB=.* is too small to learn from these shards"):
            EpochBatches(remote, 4, shuffle=True)
    else:
        assert EpochBatches(remote, 4, shuffle=True).mixed == wanted
    assert EpochBatches(remote, 4).mixed == 1
