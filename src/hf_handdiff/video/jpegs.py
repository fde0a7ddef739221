"""JPEG pictures out of a stream of bytes in which they follow each other, each as soon as its last byte is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hf_handdiff.errors import InputError

MOST_BYTES = 64 * 2**20
"""A picture that is longer, or so much of something else, is no stream of JPEGs."""
_START = b"\xff\xd8\xff"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""In the coded data of a scan 0xff is followed by 0 or is a restart marker."""


def split_jpegs(chunks: Iterable[bytes]) -> Iterator[bytes | None]:
    """Cut a stream into JPEG pictures, by their segments: a thumbnail inside of one is not taken for another.

    What lies between two pictures, such as the boundaries of a multipart stream, is left out. FFmpeg's own splitter
    holds a picture back until the next one begins; here it comes at once.

    Args:
        chunks: the stream, in pieces of any length that are not empty.

    Yields:
        The bytes of a picture; None where one breaks off.

    Raises:
        InputError: a picture, or what lies between two, is longer than `MOST_BYTES`.
    """
    buffer = _Buffer(chunks)
    try:
        while True:
            buffer.drop_until_start()
            end, whole = _end_of_picture(buffer)
            yield bytes(buffer.data[:end]) if whole else None
            buffer.drop(end)
    except EOFError:
        if buffer.data.startswith(_START):
            yield None


class _Buffer:
    """The bytes that were read and are not done yet."""

    def __init__(self, chunks: Iterable[bytes]):
        self.data = bytearray()
        self._chunks = iter(chunks)
        self._dropped = 0

    def need(self, length: int) -> None:
        """Read until there are so many bytes, or raise `EOFError`."""
        while len(self.data) < length:
            if max(length, len(self.data)) > MOST_BYTES:
                raise InputError(f"source: expected JPEG pictures, got one of more than {MOST_BYTES >> 20} MiB")
            chunk = next(self._chunks, b"")
            if not chunk:
                raise EOFError
            self.data += chunk

    def drop(self, count: int) -> None:
        """Forget the first bytes: they belong to a picture, whole or not."""
        del self.data[:count]
        self._dropped = 0

    def drop_until_start(self) -> None:
        """Forget what comes before the next picture."""
        while (start := self.data.find(_START)) < 0:
            rest = max(len(self.data) - len(_START) + 1, 0)
            self._dropped += rest
            if self._dropped > MOST_BYTES:
                raise InputError(f"source: expected JPEG pictures, got {MOST_BYTES >> 20} MiB of something else")
            del self.data[:rest]
            self.need(len(self.data) + 1)
        del self.data[:start]

    def find_marker(self, start: int) -> int:
        """Where the next marker is that ends a scan."""
        while True:
            found = _MARKER_IN_SCAN.search(self.data, start)
            if found:
                return found.start()
            start = max(start, len(self.data) - 1)
            self.need(len(self.data) + 1)


def _end_of_picture(buffer: _Buffer) -> tuple[int, bool]:
    """Where the picture at the buffer's start ends, and whether it is whole; else where to look for the next one."""
    at = 2
    while True:
        buffer.need(at + 2)
        first, marker = buffer.data[at : at + 2]
        if first == 0xFF and marker == 0xFF:  # fill
            at += 1
            continue
        if first != 0xFF or marker in (0, _SOI):
            return at, False
        at += 2
        if marker == _EOI:
            return at, True
        if marker in _WITHOUT_LENGTH:
            continue
        buffer.need(at + 2)
        at += max(2, int.from_bytes(buffer.data[at : at + 2], "big"))
        if marker == _SOS:
            at = buffer.find_marker(at)
