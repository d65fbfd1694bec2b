"""Office files: what a reader sees of them is in their text, wherever it stands in the file."""

from __future__ import annotations

import io
import zipfile
from datetime import date, datetime, time
from typing import Any

import httpx
import pytest
from uploading import NewFolder, Upload, text_of

from support.fixtures import one_store

pytestmark = one_store

WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
SHAPES = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape"'
)
MATHS = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
BOX = "<w:txbxContent><w:p><w:r><w:t>in a box</w:t></w:r></w:p></w:txbxContent>"


def saved(document: Any) -> bytes:
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


def docx() -> bytes:
    """Return a document with words in all the places that Word has for them."""
    import docx
    from docx.oxml import parse_xml

    document = docx.Document()
    document.sections[0].header.paragraphs[0].text = "at the top"
    document.sections[0].footer.paragraphs[0].text = "at the foot"
    document.add_heading("Report", 0)
    own = document.styles.add_style("Chapter", 1)
    own.base_style = document.styles["Heading 2"]
    document.add_paragraph("A chapter", style="Chapter")
    paragraph = document.add_paragraph("Words ")
    chosen = f'<mc:Choice Requires="wps"><wps:txbx>{BOX}</wps:txbx></mc:Choice>'
    for_old = f"<mc:Fallback><w:pict><v:textbox>{BOX}</v:textbox></w:pict></mc:Fallback>"
    for part in (
        f'<w:ins {WORD} w:id="1" w:author="A"><w:r><w:t>inserted, </w:t></w:r></w:ins>',
        f'<w:del {WORD} w:id="2" w:author="A"><w:r><w:delText>deleted, </w:delText></w:r></w:del>',
        f"<w:sdt {WORD}><w:sdtContent><w:r><w:t>in a control, </w:t></w:r></w:sdtContent></w:sdt>",
        f'<w:fldSimple {WORD} w:instr="DATE"><w:r><w:t>in a field, </w:t></w:r></w:fldSimple>',
        f"<m:oMath {MATHS}><m:f><m:num><m:t>a</m:t></m:num><m:den><m:t>b</m:t></m:den></m:f></m:oMath>",
        f"<w:r {WORD} {SHAPES}><mc:AlternateContent>{chosen}{for_old}</mc:AlternateContent></w:r>",
    ):
        paragraph._p.append(parse_xml(part))
    control = "<w:sdtContent><w:p><w:r><w:t>a control of its own</w:t></w:r></w:p></w:sdtContent>"
    document.element.body.insert(2, parse_xml(f"<w:sdt {WORD}>{control}</w:sdt>"))
    document.add_comment(paragraph.runs[0], text="a comment", author="Ada")
    table = document.add_table(rows=2, cols=3)
    table.cell(0, 0).merge(table.cell(0, 1)).text = "wide"
    table.cell(0, 2).merge(table.cell(1, 2)).text = "tall"
    table.cell(1, 0).text = "left"
    table.cell(1, 1).add_table(rows=1, cols=1).cell(0, 0).text = "inner"
    return with_footnote(saved(document))


def with_footnote(document: bytes) -> bytes:
    """Return a document with a footnote, as Word writes it, which python-docx cannot."""
    target = io.BytesIO()
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/footnotes"
    with zipfile.ZipFile(io.BytesIO(document)) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name).decode("utf-8", "surrogateescape")
            if name == "word/_rels/document.xml.rels":
                data = data.replace(
                    "</Relationships>",
                    f'<Relationship Id="n" Type="{relation}" Target="footnotes.xml"/></Relationships>',
                )
            if name == "word/document.xml":
                mark = '<w:r><w:footnoteReference w:id="2"/></w:r>'
                data = data.replace("A chapter</w:t></w:r>", f"A chapter</w:t></w:r>{mark}")
            archive.writestr(name, data.encode("utf-8", "surrogateescape"))
        archive.writestr(
            "word/footnotes.xml",
            f'<w:footnotes {WORD}><w:footnote w:type="separator" w:id="0"><w:p/></w:footnote>'
            '<w:footnote w:id="2"><w:p><w:r><w:t>at the bottom</w:t></w:r></w:p></w:footnote></w:footnotes>',
        )
    return target.getvalue()


def pptx() -> bytes:
    import pptx
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE

    deck = pptx.Presentation()
    shapes = deck.slides.add_slide(deck.slide_layouts[5]).shapes
    shapes.title.text = "Groups"
    group = shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    group.shapes.add_group_shape().shapes.add_textbox(0, 0, 9, 9).text_frame.text = "deeper\vand below"
    data: Any = CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["east", "west"]
    data.add_series("sales", (1.5, 2.5))
    chart = shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, 9, 9, data).chart
    chart.has_title = True
    chart.chart_title.text_frame.text = "Quarters"
    deck.slides.add_slide(deck.slide_layouts[6]).notes_slide.notes_text_frame.text = ""
    return saved(deck)


def xlsx() -> bytes:
    """Return a workbook as programs write it: formulas without results, and a sheet that is a chart."""
    import openpyxl
    from openpyxl.chart import BarChart
    from openpyxl.comments import Comment

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Sums"
    sheet.append([1, 2, "=A1+B1", True])
    sheet.append([date(2026, 1, 2), datetime(2026, 1, 2, 3, 4, 5), time(3, 4), 0.25])  # noqa: DTZ001
    sheet["D2"].number_format = "0%"
    sheet.append([0.1 + 0.2, None, "last"])
    sheet["A1"].comment = Comment("a comment", "Ada")
    far = book.create_sheet("Far")
    far["A1"], far["XFD2"], far["A1048576"] = "top", "right", "bottom"
    book.create_chartsheet("Chart").add_chart(BarChart())
    return saved(book)


OPEN_NAMES = (
    " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
        for name in ("office", "text", "table", "drawing", "style", "presentation")
    )
    + ' xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:dc="http://purl.org/dc/elements/1.1/"'
)


def opendocument(kind: str, body: str, *, manifest: str = "") -> bytes:
    """Return a document as LibreOffice writes it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", f"application/vnd.oasis.opendocument.{kind}", zipfile.ZIP_STORED)
        archive.writestr(
            "content.xml",
            f"<office:document-content {OPEN_NAMES}><office:body>{body}</office:body></office:document-content>",
        )
        archive.writestr(
            "styles.xml",
            f"<office:document-styles {OPEN_NAMES}><office:master-styles><style:master-page>"
            "<style:header><text:p>at the top</text:p></style:header></style:master-page></office:master-styles>"
            "</office:document-styles>",
        )
        archive.writestr("META-INF/manifest.xml", f"<manifest>{manifest}</manifest>")
    return target.getvalue()


def odt() -> bytes:
    return opendocument(
        "text",
        "<office:text><text:tracked-changes><text:p>deleted</text:p></text:tracked-changes>"
        '<text:p text:style-name="Title">Report</text:p><text:h text:outline-level="2">A <text:span>chapter</text:span>'
        "</text:h>\n  <text:p>Words\n   and<text:s text:c='2'/>more<text:tab/>here<text:note><text:note-citation>1"
        "</text:note-citation><text:note-body><text:p>at the bottom</text:p></text:note-body></text:note>, "
        "<draw:frame><draw:text-box><text:p>in a box</text:p></draw:text-box></draw:frame>"
        "<office:annotation><dc:creator>Ada</dc:creator><text:p>a comment</text:p></office:annotation>end.</text:p>"
        "<text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>two</text:p></text:list-item>"
        "</text:list></text:list-item></text:list><text:section><table:table><table:table-header-rows><table:table-row>"
        "<table:table-cell><text:p>kettle</text:p></table:table-cell><table:covered-table-cell/><table:table-cell>"
        "<text:p>3</text:p></table:table-cell></table:table-row></table:table-header-rows></table:table></text:section>"
        "</office:text>",
    )


def ods() -> bytes:
    cells = '<table:table-cell table:number-columns-repeated="16384"/>'
    empty = f'<table:table-row table:number-rows-repeated="1048570">{cells}</table:table-row>'
    return opendocument(
        "spreadsheet",
        '<office:spreadsheet><table:table table:name="Sums"><table:table-row table:number-rows-repeated="2">'
        '<table:table-cell office:value="0.25"><text:p>25%</text:p></table:table-cell><table:table-cell '
        'table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell></table:table-row>'
        f"{empty}</table:table></office:spreadsheet>",
    )


def odp() -> bytes:
    return opendocument(
        "presentation",
        '<office:presentation><draw:page><draw:frame presentation:class="title"><draw:text-box><text:p>Groups</text:p>'
        "</draw:text-box></draw:frame><draw:g><draw:custom-shape><text:p>in a group</text:p></draw:custom-shape>"
        "</draw:g>"
        "<presentation:notes><draw:frame><draw:text-box><text:p>Pause.</text:p></draw:text-box></draw:frame>"
        "</presentation:notes></draw:page></office:presentation>",
    )


def rtf() -> bytes:
    """Return a text with several encodings, characters by their numbers, and a table."""
    return (
        rb"{\rtf1\ansi\ansicpg1250\deff0{\fonttbl{\f0\fcharset238 Times;}{\f1\fcharset128 Mincho;}"
        rb"{\f2\fcharset204 Arial;}}"
        rb"{\colortbl;\red0\green0\blue0;}{\info{\author Ada}}{\*\generator Writer;}"
        rb"\pard\f0 \'8elu\'9d, caf\u233\'e9 {\b and} \u-10179?\u-8694?{\f1 \'93\'fa\'96\'7b} {\f2\'cf\'f0}\par"
        b"\r\nit goes\r\n on"
        b"{\\pict 00ff}{\\*\\footnote below}\\line \\emdash end\\{\\}\\par"
        rb"\trowd\intbl left\par more\cell right\cell\row\pard{\bin5 {{{{{}last\par}"
    )


IN_RTF = "Žluť, café and 😊日本 Пр\nit goes on\n—end{}\nleft\nmore|right|\nlast\n\n"
IN_DOCX = """at the top

# Report

## A chapter[^2]

a control of its own

Words inserted, in a control, in a field, a/b

in a box

wide |  | tall
left | inner

[^2]: at the bottom

Comment by Ada: a comment

at the foot

"""
IN_PPTX = """## Slide 1: Groups

in a group

deeper
and below

Chart: Quarters

 | east | west
sales | 1.5 | 2.5

## Slide 2

"""
IN_XLSX = f"""## Sums

1 | 2 | =A1+B1 | TRUE
2026-01-02 | 2026-01-02 03:04:05 | 03:04:00 | 25%
0.3 |  | last

Comment on A1: a comment

## Far

top
{" | " * 50}right
bottom

"""
IN_ODT = """at the top

# Report

## A chapter

Words and  more\there[^1], end.

[^1]: at the bottom

in a box

Comment by Ada: a comment

- one

  - two

kettle |  | 3

"""
IN_ODS = """at the top

## Sums

25% | x | x
25% | x | x

"""
IN_ODP = """at the top

## Slide 1: Groups

in a group

Notes: Pause.

"""


@pytest.mark.parametrize(
    ("name", "data", "text"),
    [
        ("a.docx", docx, IN_DOCX),
        ("a.pptx", pptx, IN_PPTX),
        ("a.xlsx", xlsx, IN_XLSX),
        ("a.odt", odt, IN_ODT),
        ("a.ods", ods, IN_ODS),
        ("a.odp", odp, IN_ODP),
        ("a.rtf", rtf, IN_RTF),
    ],
    ids=["docx", "pptx", "xlsx", "odt", "ods", "odp", "rtf"],
)
def test_words_are_read_wherever_they_stand(
    http: httpx.Client, new_folder: NewFolder, upload: Upload, name: str, data: Any, text: str
) -> None:
    read = upload(new_folder(), name, data())
    assert (read["processing_status"], read["error_message"]) == ("completed", None)
    assert text_of(http, read) == text


def test_encrypted_open_documents_say_so(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    data = opendocument("text", "gibberish", manifest="<file-entry><encryption-data/></file-entry>")
    read = upload(new_folder(), "a.odt", data)
    assert read["processing_status"] == "error"
    assert "encrypted" in read["error_message"]


@pytest.mark.parametrize("repeated", ["rows", "columns"])
def test_a_sheet_that_repeats_itself_is_bounded(
    http: httpx.Client, new_folder: NewFolder, upload: Upload, repeated: str
) -> None:
    cell = f'<table:table-cell table:number-columns-repeated="9999999"><text:p>{"x" * 1000}</text:p></table:table-cell>'
    times = "9999999" if repeated == "rows" else "1"
    row = f'<table:table-row table:number-rows-repeated="{times}">{cell}</table:table-row>'
    body = f'<table:table table:name="T">{row}</table:table>'
    read = upload(
        new_folder(), "a.ods", opendocument("spreadsheet", f"<office:spreadsheet>{body}</office:spreadsheet>")
    )
    if repeated == "rows":
        assert "more than 20,000,000 characters" in read["error_message"]
    else:
        assert (read["processing_status"], len(text_of(http, read) or "")) == ("completed", 50 * 1003 + 17)


def test_documents_with_macros_and_templates_are_read(
    http: httpx.Client, new_folder: NewFolder, upload: Upload
) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(docx())) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            kept = source.read(name)
            archive.writestr(
                name, kept.replace(b"document.main+xml", b"x").replace(b"wordprocessingml.document", b"macroEnabled")
            )
    read = upload(new_folder(), "a.docm", target.getvalue())
    assert text_of(http, read) == IN_DOCX
