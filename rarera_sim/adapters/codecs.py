"""Frames made small: what can be computed again is left out, the rest is compressed with a trained dictionary.

A frame begins with its UID, whose last 24 bytes are a hash and do not compress. They follow from the time and the
body, so a block holds times and bodies only, and whoever unpacks it computes every UID anew: what comes out has UIDs
that match, whatever happened to the block, and a chain or a digest kept beside it says whether they are the right ones.

    block = number of events (4 bytes, little endian), times (8 each: the first, then differences),
            sizes of the bodies (4 each), bodies

Bytes per event of 108,120 flight events, 181 bytes a frame, zstd level 3, dictionary of 16 kB (included in the
figures); packing and compressing takes some 2.3 us of CPU an event in blocks of 64, the way back 1.6 us, most of it for
the UIDs. Measured by `python tests/adapters/test_codecs.py`:

    events a block       1        16        64     1,024
    no dictionary    159.6      47.4      33.5      26.5
    dictionary        61.4      31.2      28.0      26.1

So a dictionary is what makes a single frame small, and what lets blocks be small enough to read one event from.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from types import ModuleType
from typing import Any, Final, Protocol

from rarera_sim.core.errors import BadInput, DamagedLog
from rarera_sim.core.event import ID_BYTES, TIME_BYTES, Frame, identify

DICTIONARY_BYTES: Final = 16_384
BLOCK_EVENTS: Final = 64
LEVEL: Final = 3

_COUNT = struct.Struct("<I")


class Codec(Protocol):
    """Bytes made smaller and back; `dictionary` is what both ends must have."""

    name: str
    dictionary: bytes

    def compress(self, data: bytes) -> bytes: ...

    def decompress(self, data: bytes, size_max: int) -> bytes:
        """The bytes again, at most `size_max` of them; raises `DamagedLog` if these are none."""
        ...


class Plain:
    """No compression."""

    name = "none"
    dictionary = b""

    def compress(self, data: bytes) -> bytes:
        return data

    def decompress(self, data: bytes, size_max: int) -> bytes:
        if len(data) > size_max:
            raise DamagedLog(f"a block holds {len(data)} bytes where at most {size_max} are due")
        return data


class Zstd:
    """Zstandard, with a dictionary or without.

    Parameters
    ----------
    dictionary
        As `train` makes it: what the data have in common, so that small pieces of them compress as well as large ones.
    level
        1 (fast) to 22 (small).

    Examples
    --------
    >>> codec = Zstd()
    >>> codec.decompress(codec.compress(b"departed " * 100), size_max=900) == b"departed " * 100
    True
    """

    name = "zstd"

    def __init__(self, dictionary: bytes = b"", level: int = LEVEL) -> None:
        if not 1 <= level <= 22:
            raise BadInput(f"level must be 1 to 22, got {level!r}")
        self._zstandard = zstandard()
        self.dictionary = dictionary
        trained = self._zstandard.ZstdCompressionDict(dictionary) if dictionary else None
        self._compressor: Any = self._zstandard.ZstdCompressor(level=level, dict_data=trained)
        self._decompressor: Any = self._zstandard.ZstdDecompressor(dict_data=trained)

    def compress(self, data: bytes) -> bytes:
        return bytes(self._compressor.compress(data))

    def decompress(self, data: bytes, size_max: int) -> bytes:
        try:
            # A frame names its own size, and a damaged one may name any: it is looked at before memory is given.
            size = self._zstandard.frame_content_size(data)
            if not 0 <= size <= size_max:
                raise DamagedLog(f"a block says that it holds {size} bytes where at most {size_max} are due")
            return bytes(self._decompressor.decompress(data, max_output_size=size_max))
        except self._zstandard.ZstdError as error:
            raise DamagedLog(f"a block cannot be decompressed: {error}") from None


def codec(name: str, dictionary: bytes = b"") -> Codec:
    """The codec of a name: "none" or "zstd".

    >>> codec("lzw")
    Traceback (most recent call last):
    rarera_sim.core.errors.BadInput: compression must be 'none' or 'zstd', got 'lzw'
    """
    if name == "none":
        return Plain()
    if name == "zstd":
        return Zstd(dictionary)
    raise BadInput(f"compression must be 'none' or 'zstd', got {name!r}")


def zstandard() -> ModuleType:
    """The package, or one line that says how to get it."""
    try:
        import zstandard as package
    except ImportError:
        raise BadInput(
            "compression 'zstd' needs the package zstandard: install rarera-sim[zstd], or use compression 'none'"
        ) from None
    return package


def train(samples: Sequence[bytes], size: int = DICTIONARY_BYTES) -> bytes:
    """A dictionary from data like those to be compressed; empty where there are too few to learn from."""
    package = zstandard()
    try:
        return bytes(package.train_dictionary(size, list(samples)).as_bytes())
    except package.ZstdError:
        # It wants many times the dictionary's size in samples, and says so in a way that depends on them.
        return b""


def pack(frames: Sequence[Frame]) -> bytes:
    """The frames of a block, without what follows from the rest.

    >>> from rarera_sim.core.event import Event
    >>> frames = [Event("EWR/UA1", "departed", {}, source="EWR", sequence=n, time=n).frame for n in (1, 2)]
    >>> block = pack(frames)
    >>> sum(map(len, frames)), len(block), unpack(block) == frames
    (146, 110, True)
    """
    times = [int.from_bytes(frame[:TIME_BYTES], "big") for frame in frames]
    for frame in frames:
        if identify(frame[:TIME_BYTES], frame[ID_BYTES:]) != frame[:ID_BYTES]:
            raise DamagedLog(f"event {frame[:ID_BYTES].hex()}: content does not match its UID")
    differences = array("q", times[:1])
    differences.extend(later - earlier for earlier, later in pairwise(times))
    sizes = array("I", (len(frame) - ID_BYTES for frame in frames))
    bodies = b"".join(frame[ID_BYTES:] for frame in frames)
    return b"".join((_COUNT.pack(len(frames)), _little(differences), _little(sizes), bodies))


def unpack(block: bytes) -> list[Frame]:
    """The frames again, their UIDs computed anew; raises `DamagedLog` if these bytes are no block."""
    if len(block) < _COUNT.size:
        raise DamagedLog(f"a block of {len(block)} bytes is too short")
    (count,) = _COUNT.unpack_from(block)
    bodies = _COUNT.size + 12 * count
    if len(block) < bodies:
        raise DamagedLog(f"a block of {len(block)} bytes cannot hold {count} events")
    differences, sizes = array("q"), array("I")
    differences.frombytes(block[_COUNT.size : _COUNT.size + 8 * count])
    sizes.frombytes(block[_COUNT.size + 8 * count : bodies])
    if sys.byteorder == "big":
        differences.byteswap()
        sizes.byteswap()
    if bodies + sum(sizes) != len(block):
        raise DamagedLog(f"a block of {len(block)} bytes should have {bodies + sum(sizes)}")
    frames = []
    moment = 0
    for difference, size in zip(differences, sizes, strict=True):
        moment += difference
        if not 0 <= moment < 2**63:
            raise DamagedLog(f"a block holds the time {moment}")
        time = moment.to_bytes(TIME_BYTES, "big")
        body = block[bodies : bodies + size]
        frames.append(identify(time, body) + body)
        bodies += size
    return frames


def blocks(frames: Sequence[Frame], count: int = BLOCK_EVENTS) -> list[bytes]:
    """The frames in packed blocks of `count`, ready to train on and to compress."""
    return [pack(frames[start : start + count]) for start in range(0, len(frames), count)]


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
