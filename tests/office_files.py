"""Office documents, books and messages by hand: small archives of XML."""

import io
from collections.abc import Mapping
from zipfile import ZipFile

_WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_RELATIONS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
_OFFICE_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{what}:1.0"'
    for name, what in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"))
)


def archive(members: Mapping[str, str | bytes]) -> bytes:
    """Return a zip archive of these members."""
    out = io.BytesIO()
    with ZipFile(out, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return out.getvalue()


def docx(body: str, footnotes: str = "") -> bytes:
    """Return a document of Word with a body in WordprocessingML."""
    of_document = f'Type="{_OFFICE_RELATION}/officeDocument" Target="word/document.xml"'
    relation = f'<Relationship Id="r1" Type="{_OFFICE_RELATION}/footnotes" Target="footnotes.xml"/>'
    return archive(
        {
            "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>',
            "_rels/.rels": f'<Relationships {_RELATIONS}><Relationship Id="r1" {of_document}/></Relationships>',
            "word/document.xml": f"<w:document {_WORD}><w:body>{body}</w:body></w:document>",
            "word/styles.xml": f"<w:styles {_WORD}>{_STYLES}</w:styles>",
            "word/_rels/document.xml.rels": f"<Relationships {_RELATIONS}>{relation}</Relationships>",
            "word/footnotes.xml": f"<w:footnotes {_WORD}>{footnotes}</w:footnotes>",
        }
    )


_STYLES = "".join(
    f'<w:style w:type="paragraph" w:styleId="{name.replace(" ", "")}"><w:name w:val="{name}"/></w:style>'
    for name in ("Title", "heading 1", "heading 2")
)


def paragraph(text: str, style: str = "", *, run: str = "") -> str:
    """Return a paragraph of Word."""
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r>{run}</w:p>"


def word_table(*rows: tuple[str, ...]) -> str:
    """Return a table of Word."""
    made = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in made)}</w:tbl>"


def open_document(kind: str, body: str, title: str = "", manifest: str = "") -> bytes:
    """Return a document of LibreOffice; `kind` is "text", "spreadsheet" or "presentation"."""
    content = f"<office:document-content {_ODF}><office:body><office:{kind}>{body}</office:{kind}></office:body>"
    meta = f'<office:document-meta {_ODF} xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>{title}'
    names = 'xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"'
    return archive(
        {
            "META-INF/manifest.xml": f"<manifest:manifest {names}>{manifest}</manifest:manifest>",
            "content.xml": content + "</office:document-content>",
            "meta.xml": meta + "</dc:title></office:meta></office:document-meta>",
        }
    )


def epub(chapters: Mapping[str, str], order: tuple[str, ...], title: str) -> bytes:
    """Return a book whose chapters stand in this order."""
    items = "".join(f'<item id="{name}" href="{name}.xhtml" media-type="application/xhtml+xml"/>' for name in chapters)
    spine = "".join(f'<itemref idref="{name}"/>' for name in order)
    return archive(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="text/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
            "text/book.opf": '<package xmlns="http://www.idpf.org/2007/opf"><metadata '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"text/{name}.xhtml": f"<html><body>{text}</body></html>" for name, text in chapters.items()},
        }
    )
