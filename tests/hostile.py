"""Archives that nobody should trust, by what is wrong with them."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

_SPARSE = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}


def member(name: str, kind: bytes = tarfile.REGTYPE, *, size: int = 0, link: str = "") -> tarfile.TarInfo:
    """What a tar says of one member."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, link
    return made


def tar_of(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    """A gzipped tar of *members*, the files among them with this *content*."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=1) as tar:
        for one in members:
            tar.addfile(one, io.BytesIO(content) if one.isreg() else None)
    return raw.getvalue()


def tar_with(*odd: tarfile.TarInfo) -> bytes:
    """A gzipped tar that begins and ends well, with *odd* members between."""
    return tar_of(member("1/saved_model.pb"), *odd, member("2/saved_model.pb"))


def _claiming(size: int, kind: bytes = tarfile.REGTYPE, name: str = "1/saved_model.pb") -> bytes:
    """A tar of one header that claims more, or less, than there is."""
    return gzip.compress(member(name, kind, size=size).tobuf(tarfile.GNU_FORMAT) + bytes(4096))


def _chain() -> bytes:
    """Long names, each declared to be that of the next one."""
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1).tobuf(tarfile.GNU_FORMAT)
    return gzip.compress((header + b"n".ljust(512, b"\0")) * 1000 + member("n").tobuf() + bytes(1024))


def _damaged_between() -> bytes:
    """A tar whose second header is noise: Python's `tarfile` takes that for its end."""
    raw = bytearray(gzip.decompress(tar_of(member("1/saved_model.pb"), member("2/saved_model.pb"))))
    raw[512:1024] = b"noise" + bytes(507)
    return gzip.compress(raw)


def sum_up(raw: bytearray) -> None:
    """Put the checksums right in what looks like a header."""
    for start in range(0, len(raw) - 511, 512):
        if raw[start + 257 : start + 262] == b"ustar":
            raw[start + 148 : start + 156] = b" " * 8
            raw[start + 148 : start + 156] = b"%06o\0 " % sum(raw[start : start + 512])


def sparse() -> bytes:
    """An archive of one sparse file, 512 bytes at 0 and at 1000: nothing is wrong with it."""
    info = member("1/odd", size=1536)
    info.pax_headers = {**_SPARSE, "GNU.sparse.name": "1/sparse", "GNU.sparse.realsize": "1512"}
    content = b"2\n0\n512\n1000\n512\n".ljust(512, b"\0") + b"d" * 1024
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + content + bytes(1024))


def _sparse_bomb() -> bytes:
    """A file of no bytes that says that a terabyte of the archive is to be skipped for it."""
    header = bytearray(member("1/sparse", tarfile.GNUTYPE_SPARSE, size=1 << 40).tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % 0  # the size that the file has when unpacked
    sum_up(header)
    return gzip.compress(bytes(header) + bytes(4096))


def _sparse_map_bomb() -> bytes:
    """A sparse file whose map has more entries than memory has room for."""
    info = member("1/odd", size=4 << 20)
    info.pax_headers = {**_SPARSE, "GNU.sparse.name": "1/sparse", "GNU.sparse.realsize": "1"}
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + b"99999999\n" + b"1\n" * (2 << 20), 1)


def _random() -> bytes:
    return tar_of(member("1/saved_model.pb", size=5000), content=os.urandom(5000))


def _flipped() -> bytes:
    whole = bytearray(_random())
    whole[-6] ^= 1
    return bytes(whole)


NOT_WHOLE = {
    "no tar": gzip.compress(b"this is no tar\n" * 100),
    "not gzipped": gzip.decompress(_random()),
    "a zip": b"PK\3\4" + bytes(2000),
    "no bytes": b"",
    "nothing gzipped": gzip.compress(b""),
    "gzip cut": _random()[:-20],
    "gzip cut early": _random()[:200],
    "gzip cut in its header": _random()[:5],
    "tar cut": gzip.compress(gzip.decompress(_random())[:3000]),
    "a bit flipped": _flipped(),
    "noise between members": _damaged_between(),
    "a negative size": _claiming(-(1 << 40)),
    "a chain of headers": _chain(),
}
"""No whole gzipped tar."""

UNSAFE = {
    "absolute": (tar_with(member("/tmp/mme-escaped")), "'/tmp/mme-escaped', which leads outside"),
    "parent": (tar_with(member("../mme-escaped")), "'../mme-escaped', which leads outside"),
    "parent below": (tar_with(member("1/../../mme-escaped")), "'1/../../mme-escaped', which leads outside"),
    "symlink": (tar_with(member("1/link", tarfile.SYMTYPE, link="/etc/passwd")), "'1/link', which is a symbolic link"),
    "hard link": (
        tar_with(member("1/link", tarfile.LNKTYPE, link="1/saved_model.pb")),
        "'1/link', which is a hard link",
    ),
    "through a link": (
        tar_with(member("out", tarfile.SYMTYPE, link="/tmp"), member("out/mme-escaped")),
        "'out', which is a symbolic link",
    ),
    "character device": (tar_with(member("1/null", tarfile.CHRTYPE)), "'1/null', which is a device"),
    "block device": (tar_with(member("1/disk", tarfile.BLKTYPE)), "'1/disk', which is a device"),
    "pipe": (tar_with(member("1/pipe", tarfile.FIFOTYPE)), "'1/pipe', which is a pipe"),
    "twice": (tar_with(member("1/saved_model.pb")), "'1/saved_model.pb', which is there already"),
    "file and folder": (tar_with(member("1/saved_model.pb/below")), "is both a file and a folder"),
    "folder and file": (tar_with(member("1")), "is both a file and a folder"),
    "long name": (tar_with(member("1/" + "n" * 300)), "File name too long"),
    "very long name": (tar_with(member("n" * 500_000)), "File name too long"),
    "long path": (tar_with(member("/".join(["n" * 200] * 30))), "File name too long"),
    "deep path": (tar_with(member("/".join(["n"] * 500))), "500 folders deep"),
    "gigabytes": (_claiming(9 << 40), "9895604649984 bytes or more when unpacked, allowed are "),
    "gigabytes of name": (_claiming(8 << 30, tarfile.GNUTYPE_LONGNAME, "././@LongLink"), "a header of more than"),
    "a sparse terabyte": (_sparse_bomb(), "bytes of headers"),
    "a sparse map of gigabytes": (_sparse_map_bomb(), "a header of more than"),
    "padding": (tar_of(member("1/saved_model.pb")) + gzip.compress(bytes(17 << 20)), "behind its last member"),
}
"""Archives that must not be unpacked, and what the error says of them."""

BOUNDS = {
    "many members": (tar_of(*(member(f"1/{number}") for number in range(101))), "more than 100 members"),
    "a bomb": (
        tar_of(member("1/zeros", size=4 << 20), member("1/more", size=4 << 20), content=bytes(4 << 20)),
        "8388608 bytes or more when unpacked, allowed are 8000000",
    ),
}
"""Archives of more than 100 members or 8 MB, in a hundredth of their size."""
