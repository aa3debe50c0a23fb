"""Encoding of a text file, by its byte-order mark or by the evidence of its bytes."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE, getincrementaldecoder

__all__ = ["decode_head", "text_encoding"]

# UTF-32 first: its little-endian mark begins with that of UTF-16. Python's names without "le" and "be" read the mark.
_MARKS = {BOM_UTF32_LE: "utf-32", BOM_UTF32_BE: "utf-32", BOM_UTF8: "utf-8-sig"}
_MARKS |= {BOM_UTF16_LE: "utf-16", BOM_UTF16_BE: "utf-16"}
# Text in Latin letters has a zero in every second byte of UTF-16; a binary file has zeros in both halves, or few.
_MIN_PAIRS, _MIN_ZEROS, _MAX_OTHER_ZEROS = 8, 0.4, 0.01


def text_encoding(content: bytes) -> str:
    """Python's name of the encoding of a text or of its beginning.

    UTF-8, UTF-16 and UTF-32 are recognized by their mark, UTF-16 also without one, and UTF-8 by its rules. Everything
    else is taken as Windows-1252, which has the letters of Latin-1 and in which Excel saves western European text.
    """
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return name
    even, odd = content[0::2].count(0), content[1::2].count(0)
    half = len(content) // 2
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if half >= _MIN_PAIRS and zeros > _MIN_ZEROS * half and others <= _MAX_OTHER_ZEROS * half:
            return name
    try:
        # Incremental: the last character of a beginning may be cut off.
        getincrementaldecoder("utf-8")().decode(content)
        return "utf-8"
    except UnicodeDecodeError:
        return "cp1252"


def decode_head(head: bytes) -> str:
    """The beginning of a file as text, without its byte-order mark."""
    return head.decode(text_encoding(head), errors="replace").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
