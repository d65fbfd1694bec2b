"""PDF files: words are whole and apart, what was filled in and noted is read, and one bad page is not the end."""

from __future__ import annotations

import io
from collections.abc import Callable

import httpx
import pytest
from pypdf import PdfWriter
from pypdf.generic import (
    ArrayObject,
    DecodedStreamObject,
    DictionaryObject,
    NameObject,
    NumberObject,
    PdfObject,
    TextStringObject,
)
from uploading import NewFolder, Upload, text_of

from support.fixtures import one_store

pytestmark = one_store


def named(**values: PdfObject | str) -> DictionaryObject:
    """Return a PDF dictionary; texts are names."""
    return DictionaryObject(
        {
            NameObject(f"/{key}"): NameObject(f"/{value}") if type(value) is str else value
            for key, value in values.items()
        }
    )


def as_tex_writes_it() -> DictionaryObject:
    """Return a font without a space, which says how wide another character is in its place; 1 is a ligature."""
    letters = [NameObject(f"/{letter}") for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    small = [NameObject(f"/{letter}") for letter in "abcdefghijklmnopqrstuvwxyz"]
    marks = [NumberObject(45), NameObject("/hyphen")]
    all_of_them = [NumberObject(1), NameObject("/fi"), *marks, NumberObject(65), *letters, NumberObject(97), *small]
    return named(
        Type="Font",
        Subtype="Type1",
        BaseFont="AAAAAA+TeXGyreTermes",
        FirstChar=NumberObject(1),
        LastChar=NumberObject(122),
        Widths=ArrayObject([NumberObject(838 if code == 32 else 500) for code in range(1, 123)]),
        Encoding=named(Type="Encoding", Differences=ArrayObject(all_of_them)),
    )


def add_page(writer: PdfWriter, lines: str, **more: str) -> DictionaryObject:
    """Add a page that draws lines of text, each a TJ's array; `more` is what its content says of itself."""
    page = writer.add_blank_page(400, 400)
    resources = named(Font=named(F1=writer._add_object(as_tex_writes_it())))
    page[NameObject("/Resources")] = resources
    content = DecodedStreamObject()
    shown = "".join(f"[{line}] TJ 0 -14 Td " for line in lines.splitlines())
    content.set_data(f"BT /F1 12 Tf 20 350 Td {shown} ET".encode("latin-1"))
    content.update(named(**more))
    page[NameObject("/Contents")] = writer._add_object(content)
    return page


def file_of(*add: Callable[[PdfWriter], object]) -> bytes:
    writer = PdfWriter()
    for each in add:
        each(writer)
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def with_note(writer: PdfWriter) -> None:
    page = add_page(writer, "(Form)")
    note = named(Type="Annot", Subtype="FreeText", Contents=TextStringObject("by hand"))
    field = named(Type="Annot", Subtype="Widget", FT="Tx", T=TextStringObject("name"), V=TextStringObject("Ada"))
    box = named(Type="Annot", Subtype="Widget", FT="Btn", T=TextStringObject("agreed"), V="Yes")
    off = named(Type="Annot", Subtype="Widget", FT="Btn", T=TextStringObject("other"), V="Off")
    fields = [writer._add_object(each) for each in (field, box, off)]
    page[NameObject("/Annots")] = ArrayObject([writer._add_object(note), *fields])
    writer._root_object[NameObject("/AcroForm")] = named(Fields=ArrayObject(fields))


def with_picture(writer: PdfWriter) -> None:
    page = add_page(writer, "")
    page[NameObject("/Resources")][NameObject("/XObject")] = DictionaryObject()  # type: ignore[index]


@pytest.mark.parametrize(
    ("add", "text"),
    [
        ([lambda writer: add_page(writer, "(W)80(ords)-220(apart)-167(here)")], "Words apart here\n\n"),
        ([lambda writer: add_page(writer, "(\001nd)")], "find\n\n"),
        (
            [
                lambda writer: add_page(
                    writer, "(some)-300(infor-)\n(mation)-300(is)\n(well-)\n(known)\n(as)-300(well-known)"
                )
            ],
            "some information\nis\nwell-known\nas well-known\n\n",
        ),
        ([lambda writer: add_page(writer, f"({'a' * 300_000})")], "a" * 300_000 + "\n\n"),
        ([with_note], "Form\n\nNote: by hand\n\nname: Ada\nagreed: Yes\n\n"),
        (
            [
                lambda writer: add_page(writer, "(first)"),
                lambda writer: add_page(writer, "(lost)", Filter="Unheard"),
                with_picture,
                lambda writer: add_page(writer, "(last)"),
            ],
            "first\n\n[Page 2 is damaged and was not read]\n\n[Page 3 is a picture and was not read]\n\nlast\n\n",
        ),
    ],
    ids=["gaps", "ligatures", "hyphens", "a long word", "forms", "bad pages"],
)
def test_the_text_of_pages(
    http: httpx.Client,
    new_folder: NewFolder,
    upload: Upload,
    add: list[Callable[[PdfWriter], object]],
    text: str,
) -> None:
    read = upload(new_folder(), "a.pdf", file_of(*add))
    assert (read["processing_status"], read["error_message"]) == ("completed", None)
    assert text_of(http, read) == text


def test_a_file_of_damaged_pages_alone_says_so(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    read = upload(new_folder(), "a.pdf", file_of(lambda writer: add_page(writer, "(lost)", Filter="Unheard")))
    assert read["processing_status"] == "error"
    assert "damaged" in read["error_message"]
