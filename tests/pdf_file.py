"""PDF files by hand: pages of lines, a title, an outline."""

import zlib
from collections.abc import Sequence


def pdf(pages: Sequence[Sequence[str]], title: str = "", outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """Return a PDF whose pages have these lines, with a title and an outline of (section, page from 0)."""
    first = 10
    objects: dict[int, bytes] = {}
    kids = " ".join(f"{first + 2 * at} 0 R" for at in range(len(pages)))
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode()
    objects[3] = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    objects[4] = f"<< /Title ({title}) >>".encode()
    for at, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -14 Td" for line in lines)
        stream = zlib.compress(f"BT /F1 11 Tf 50 780 Td {shown} ET".encode("cp1252"))
        page = f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {first + 2 * at + 1} 0 R "
        objects[first + 2 * at] = f"{page}/Resources << /Font << /F1 3 0 R >> >> >>".encode()
        head = f"<< /Length {len(stream)} /Filter /FlateDecode >>\nstream\n".encode()
        objects[first + 2 * at + 1] = head + stream + b"\nendstream"
    next_id = first + 2 * len(pages)
    outlines = ""
    if outline:
        ids = range(next_id, next_id + len(outline))
        objects[5] = f"<< /Type /Outlines /First {ids[0]} 0 R /Last {ids[-1]} 0 R /Count {len(outline)} >>".encode()
        for (name, page_at), number in zip(outline, ids, strict=True):
            following = f"/Next {number + 1} 0 R" if number != ids[-1] else ""
            target = f"[{first + 2 * page_at} 0 R /Fit]"
            objects[number] = f"<< /Title ({name}) /Parent 5 0 R /Dest {target} {following} >>".encode()
        outlines = "/Outlines 5 0 R"
    objects[1] = f"<< /Type /Catalog /Pages 2 0 R {outlines} >>".encode()
    return pdf_of(objects)


def pdf_of(objects: dict[int, bytes]) -> bytes:
    """Return a PDF that is made of numbered objects."""
    out = bytearray(b"%PDF-1.7\n")
    offsets: dict[int, int] = {}
    for number, body in sorted(objects.items()):
        offsets[number] = len(out)
        out += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(out)
    size = max(objects) + 1
    out += f"xref\n0 {size}\n0000000000 65535 f \n".encode()
    for number in range(1, size):
        used = number in offsets
        out += f"{offsets.get(number, 0):010} {0 if used else 65535:05} {'n' if used else 'f'} \n".encode()
    return bytes(out) + f"trailer\n<< /Size {size} /Root 1 0 R /Info 4 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()


def placed(words: Sequence[tuple[int, int, str]], turn: str = "1 0 0 1") -> bytes:
    """Return a PDF of one page with texts at places, in points from the left and from below.

    `turn` is the matrix by which each is turned at its place.
    """
    shown = " ".join(f"{turn} {left} {below} Tm ({text}) Tj" for left, below, text in words)
    stream = zlib.compress(f"BT /F1 11 Tf {shown} ET".encode("cp1252"))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 11 0 R "
    return pdf_of(
        {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [10 0 R] /Count 1 >>",
            3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            4: b"<< >>",
            10: page + b"/Resources << /Font << /F1 3 0 R >> >> >>",
            11: f"<< /Length {len(stream)} /Filter /FlateDecode >>\nstream\n".encode() + stream + b"\nendstream",
        }
    )
