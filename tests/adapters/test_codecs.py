"""Blocks of frames: nothing is lost, damage is said, and how small they get (run this file to measure that)."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from itertools import count

import pytest

from rarera_sim.adapters import codecs
from rarera_sim.adapters.codecs import Codec, Plain, Zstd, blocks, codec, pack, train, unpack
from rarera_sim.core.errors import BadInput, DamagedLog
from rarera_sim.core.event import Event

needs_zstandard = pytest.mark.skipif(find_spec("zstandard") is None, reason="needs rarera-sim[zstd]")
EXTREMES = (
    Event("a", "b", {}, source="c", sequence=1, time=2**63 - 1),
    Event("é/\U0001f600", "two words", {"": [None, -0.0]}, source="s", sequence=2**63 - 1, time=0),
    Event("a", "b", {"blob": "x" * 200_000}, source="c", sequence=2, time=1, causation=b"\xff" * 32),
)


def some_frames(number):
    return [
        Event(
            f"EWR/UA{n % 97}", ("departed", "arrived")[n % 2], {"delay": n % 50}, source="EWR", sequence=n, time=n
        ).frame
        for n in range(1, number + 1)
    ]


def flights():
    """The frames of the flights that come with the package."""
    from rarera_sim.experiments.traces import shipped

    sequences: dict[str, count[int]] = {}
    return [
        Event(stream, kind, data, source, next(sequences.setdefault(source, count(1))), moment).frame
        for moment, source, stream, kind, data in shipped("nyc-flights").events()
    ]


def test_a_block_gives_back_every_byte_of_its_frames():
    for frames in ([], some_frames(1), some_frames(100), [event.frame for event in EXTREMES]):
        assert unpack(pack(frames)) == frames


def test_a_block_is_smaller_than_its_frames_by_what_can_be_computed():
    frames = some_frames(100)
    assert len(pack(frames)) == sum(map(len, frames)) - 100 * 20 + 4


def test_a_frame_whose_uid_does_not_fit_is_not_made_good_by_packing_it():
    frames = some_frames(3)
    frames[1] = frames[1].replace(b"arrived", b"arrivex") if b"arrived" in frames[1] else frames[1][:-2] + b"0]"
    with pytest.raises(DamagedLog, match="does not match its UID"):
        pack(frames)


def test_every_cut_of_a_block_is_refused_and_every_flip_changes_a_uid_or_is_refused():
    frames = some_frames(3)
    block = pack(frames)
    for size in range(len(block)):
        with pytest.raises(DamagedLog):
            unpack(block[:size])
    for bit in range(8 * len(block)):
        flipped = bytearray(block)
        flipped[bit // 8] ^= 1 << bit % 8
        with suppress(DamagedLog):
            assert [frame[:32] for frame in unpack(bytes(flipped))] != [frame[:32] for frame in frames]


@pytest.mark.parametrize("name", ["none", pytest.param("zstd", marks=needs_zstandard)])
def test_what_a_codec_compresses_it_gives_back(name):
    frames = some_frames(10_000)
    dictionary = train(blocks(frames)) if name == "zstd" else b""
    made = codec(name, dictionary)
    assert made.name == name
    assert made.dictionary == dictionary
    for block in (*blocks(frames)[:5], b"", b"\0" * 1000):
        assert made.decompress(made.compress(block), size_max=len(block)) == block


@pytest.mark.parametrize("make", [Plain, pytest.param(Zstd, marks=needs_zstandard)])
def test_a_block_larger_than_it_may_be_is_refused(make: type[Codec]):
    with pytest.raises(DamagedLog, match="at most 999"):
        make().decompress(make().compress(b"x" * 1000), size_max=999)


@needs_zstandard
def test_what_is_no_compressed_block_is_refused():
    whole = Zstd().compress(pack(some_frames(50)))
    for data in (b"", b"not zstd at all", whole[: len(whole) // 2], b"\0" + whole):
        with pytest.raises(DamagedLog):
            Zstd().decompress(data, size_max=100_000)


@needs_zstandard
def test_without_its_dictionary_a_block_is_refused():
    frames = some_frames(10_000)
    block = pack(frames[:64])
    trained = Zstd(train(blocks(frames)))
    with pytest.raises(DamagedLog):
        Zstd().decompress(trained.compress(block), size_max=len(block))


@needs_zstandard
def test_too_few_samples_give_no_dictionary():
    assert train([]) == train([b"x"]) == train(some_frames(2)) == b""


@needs_zstandard
def test_a_trained_dictionary_makes_small_blocks_smaller():
    frames = flights()[:20_000]
    alone = [pack([frame]) for frame in frames[10_000:12_000]]
    trained, untrained = Zstd(train([pack([frame]) for frame in frames[:10_000]])), Zstd()
    # A frame on its own is what travels; measured on all flights: see the docstring of `codecs`.
    assert sum(len(trained.compress(block)) for block in alone) < 0.5 * sum(
        len(untrained.compress(block)) for block in alone
    )


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(BadInput, match=r"rarera-sim\[zstd\]"):
        codec("zstd")
    with pytest.raises(BadInput, match=r"rarera-sim\[zstd\]"):
        train([b"x"])
    assert codec("none").compress(b"works") == b"works"


def test_an_unknown_compression_or_level_is_refused():
    with pytest.raises(BadInput, match="'none' or 'zstd'"):
        codec("gzip")
    for level in (0, 23):
        with pytest.raises(BadInput, match="level"):
            Zstd(level=level)


def measure():
    """Lines of the table in the docstring of `rarera_sim.adapters.codecs`."""
    frames = flights()
    yield f"{len(frames)} events of {sum(map(len, frames)) / len(frames):.0f} bytes a frame"
    for size in (1, 16, codecs.BLOCK_EVENTS, 1_024):
        packed = blocks(frames, size)
        cells = []
        for trained in (False, True):
            made = Zstd(train(packed[:: max(1, len(packed) // 4_000)]) if trained else b"")
            start = time.process_time()
            small = [made.compress(pack(frames[at : at + size])) for at in range(0, len(frames), size)]
            there = time.process_time()
            for block, whole in zip(small, packed, strict=True):
                unpack(made.decompress(block, len(whole)))
            back = time.process_time()
            dictionary = len(made.dictionary)
            cells.append(
                f"{(sum(map(len, small)) + dictionary) / len(frames):6.1f} bytes,"
                f" {(there - start) / len(frames) * 1e6:5.2f} us, {(back - there) / len(frames) * 1e6:5.2f} us back"
            )
        yield f"{size:>6} events a block | " + " | ".join(cells)


if __name__ == "__main__":
    print(*measure(), sep="\n")
