"""Documents: their text is taken out behind walls, and what cannot be read says why."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from functools import cache
from typing import Any

import httpx
import pytest
from uploading import NewFolder, Upload, text_of, when_read

from support.clients import plain_client
from support.fixtures import StartServer, one_store
from support.polling import until

pytestmark = one_store


def pdf(text: str = "The leaflet says hello heron.", *, password: str | None = None) -> bytes:
    """Return a PDF file of one page."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(300, 200)
    font = {"/Type": "/Font", "/Subtype": "/Type1", "/BaseFont": "/Helvetica"}
    names = DictionaryObject({NameObject(name): NameObject(value) for name, value in font.items()})
    page[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): writer._add_object(names)})}
    )
    content = DecodedStreamObject()
    content.set_data(f"BT /F1 12 Tf 20 100 Td ({text}) Tj ET".encode())
    page[NameObject("/Contents")] = writer._add_object(content)
    if password is not None:
        writer.encrypt(password, algorithm="AES-256")
    target = io.BytesIO()
    writer.write(target)
    return target.getvalue()


def docx() -> bytes:
    import docx

    document = docx.Document()
    document.add_heading("Kettles", 1)
    document.add_paragraph("The red kettle is for tea.")
    document.add_heading("Care", 2)
    document.add_paragraph("Descale it.", style="List Bullet")
    table = document.add_table(rows=1, cols=2)
    table.rows[0].cells[0].text, table.rows[0].cells[1].text = "colour", "red"
    return saved(document)


def pptx() -> bytes:
    import pptx

    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Herons"
    slide.placeholders[1].text = "They stand still."
    slide.notes_slide.notes_text_frame.text = "Pause here."
    return saved(deck)


def xlsx() -> bytes:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Rooms"
    book.active.append(["room", "size"])
    book.active.append(["kitchen", 12.5])
    return saved(book)


def epub(folder: str = "", *, rest_first: bool = False) -> bytes:
    """Return a book whose pages lie in a folder; with `rest_first`, what it is does not stand at its beginning."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        if not rest_first:
            archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>',
        )
        archive.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
            f'<item id="two" href="{folder}ch%202.xhtml"/><item id="one" href="{folder}one.xhtml"/></manifest>'
            '<spine><itemref idref="one"/><itemref idref="two"/></spine></package>',
        )
        archive.writestr(
            posixpath.normpath(f"OPS/{folder}one.xhtml"),
            "<html><body><h1>Chapter one</h1><p>It began.</p></body></html>",
        )
        archive.writestr(
            posixpath.normpath(f"OPS/{folder}ch 2.xhtml"),
            "<html><body><h1>Chapter two</h1><p>It ended.</p></body></html>",
        )
    return target.getvalue()


def with_encryption(way: str) -> bytes:
    """Return a book of which some parts are encrypted in a way."""
    target = io.BytesIO(epub())
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(
            "META-INF/encryption.xml",
            '<encryption xmlns:e="http://www.w3.org/2001/04/xmlenc#"><e:EncryptedData>'
            f'<e:EncryptionMethod Algorithm="{way}"/></e:EncryptedData></encryption>',
        )
    return target.getvalue()


def saved(document: Any) -> bytes:
    target = io.BytesIO()
    document.save(target)
    return target.getvalue()


HTML = b"<!DOCTYPE html><html><head><title>Tea</title><script>evil()</script></head><body><h2>Pots</h2><p>Clay.</p>"


@pytest.mark.parametrize(
    ("name", "data", "media_type", "texts"),
    [
        ("a.pdf", pdf, "application/pdf", ["The leaflet says hello heron."]),
        ("no-ending", pdf, "application/pdf", ["The leaflet says hello heron."]),
        (
            "a.docx",
            docx,
            "wordprocessingml",
            ["# Kettles\n\nThe red kettle", "## Care\n\n- Descale it.", "colour | red"],
        ),
        ("a.txt", docx, "wordprocessingml", ["The red kettle is for tea."]),
        ("a.pptx", pptx, "presentationml", ["## Slide 1: Herons\n\nThey stand still.", "Notes: Pause here."]),
        ("a.xlsx", xlsx, "spreadsheetml", ["## Rooms\n\nroom | size\nkitchen | 12.5"]),
        ("a.epub", epub, "application/epub+zip", ["# Chapter one\n\nIt began.\n\n# Chapter two\n\nIt ended."]),
        ("a.html", lambda: HTML, "text/html", ["# Tea\n\n## Pots\n\nClay."]),
        ("a.html", lambda: HTML + b"<article>One.</article><p>Two.", "text/html", ["Clay.\n\nOne.\n\nTwo."]),
        ("a.html", lambda: b"\xef\xbb\xbf" + HTML, "text/html", ["# Tea\n\n## Pots\n\nClay."]),
        ("a.html", lambda: HTML.decode().encode("utf-16"), "text/html", ["# Tea\n\n## Pots\n\nClay."]),
        ("a.xhtml", lambda: b"<?xml version='1.0'?><?a b?><!-- c --><!-- d -->" + HTML, "text/html", ["Clay."]),
        ("a.epub", lambda: with_encryption("http://www.idpf.org/2008/embedding"), "epub", ["It began."]),
        ("a.epub", lambda: epub("../text/", rest_first=True), "epub", ["Chapter one\n\nIt began.\n\n# Chapter two"]),
    ],
    ids=[
        *("pdf", "pdf without ending", "docx", "docx as txt", "pptx", "xlsx", "epub", "html"),
        *(
            "html with an article",
            "marked html",
            "utf-16 html",
            "xhtml",
            "epub with hidden fonts",
            "epub packed by hand",
        ),
    ],
)
def test_the_text_of_documents(
    http: httpx.Client, new_folder: NewFolder, upload: Upload, name: str, data: Any, media_type: str, texts: list[str]
) -> None:
    read = upload(new_folder(), name, data())
    assert (read["processing_status"], read["error_message"]) == ("completed", None)
    assert media_type in read["file_type"]
    text = text_of(http, read) or ""
    for part in texts:
        assert part in text
    assert "evil" not in text


def test_headings_of_documents_are_those_of_their_chunks(
    http: httpx.Client, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding_chunk_size=16)
    upload(folder, "a.docx", docx())
    chunks = http.get(f"/v1/folders/{folder['id']}/passages").json()
    assert {chunk["heading"] for chunk in chunks} >= {"Kettles › Care"}


MEGABYTE = b"\0" * 1_000_000


@cache
def zeros(megabytes: int) -> tuple[bytes, int]:
    """Return so many megabytes of zeros, packed, and their check sum; only one of them is made."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    one = packer.compress(MEGABYTE) + packer.flush(zlib.Z_FULL_FLUSH)
    total = 0
    for _ in range(megabytes):
        total = zlib.crc32(MEGABYTE, total)
    return one * megabytes + packer.flush(), total


def bomb(main: str, megabytes: int = 600, said: int | None = None) -> bytes:
    """Return a document that unpacks to much more than it takes.

    Args:
        main: the part that is a bomb, by which its kind is known.
        megabytes: what that unpacks to.
        said: how many bytes it says that these are; the truth when None.
    """
    packed, check_sum = zeros(megabytes)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip" if main.startswith("META-INF") else "other")
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr(main, packed)
        part = archive.getinfo(main)
        part.compress_type, part.CRC = zipfile.ZIP_DEFLATED, check_sum
        part.file_size = megabytes * len(MEGABYTE) if said is None else said
    return target.getvalue()


def locked(main: str) -> bytes:
    """Return a document whose parts say that they are encrypted."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(main, "nonsense")
        archive.getinfo(main).flag_bits |= 1
    return target.getvalue()


def cut_off() -> bytes:
    """Return a document without its end."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<x/>")
    return target.getvalue()[:-3]


def billion_laughs() -> bytes:
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    text = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{entities}]><x>&l11;</x>'
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", text)
    return target.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("locked.pdf", lambda: pdf(password="secret"), ["encrypted", "password"]),
        ("broken.pdf", lambda: b"%PDF-1.7\n" + b"nonsense " * 1000, ["PDF", "damaged"]),
        ("pictures.pdf", lambda: pdf(""), ["pictures"]),
        ("bomb.docx", lambda: bomb("word/document.xml"), ["unpack", "600,000,0", "500,000,000"]),
        ("bomb.pptx", lambda: bomb("ppt/presentation.xml"), ["unpack", "500,000,000"]),
        ("bomb.xlsx", lambda: bomb("xl/workbook.xml"), ["unpack", "500,000,000"]),
        ("bomb.epub", lambda: bomb("META-INF/container.xml"), ["unpack", "500,000,000"]),
        ("liar.epub", lambda: bomb("META-INF/container.xml", said=1000), ["EPUB", "cannot be read"]),
        ("locked.xlsx", lambda: locked("xl/workbook.xml"), ["encrypted", "password"]),
        ("sold.epub", lambda: with_encryption("http://www.w3.org/2001/04/xmlenc#aes128-cbc"), ["encrypted", "DRM"]),
        ("cut off.docx", cut_off, ["DOCX", "damaged"]),
        ("laughs.epub", billion_laughs, ["EPUB", "cannot be read"]),
        ("no book.epub", lambda: b"PK\x03\x04" + b"x" * 26 + b"mimetypeapplication/epub+zip", ["EPUB", "damaged"]),
    ],
    ids=[
        *("encrypted", "broken", "pictures", "bomb docx", "bomb pptx", "bomb xlsx", "bomb epub", "liar"),
        *("encrypted xlsx", "encrypted epub", "cut off", "laughs", "no book"),
    ],
)
def test_documents_that_cannot_be_read_say_why(
    http: httpx.Client, new_folder: NewFolder, upload: Upload, name: str, data: Any, words: list[str]
) -> None:
    folder = new_folder()
    read = upload(folder, name, data())
    assert (read["processing_status"], read["version"]) == ("error", 0)
    missing = [word for word in words if word not in read["error_message"]]
    assert missing == [], read["error_message"]
    assert "/" not in read["error_message"].replace("n/a", ""), "no path of the server's"
    assert http.get(f"/v1/folders/{folder['id']}/passages").json() == []
    jobs = http.get("/v1/jobs", params={"source_id": folder["id"]}).json()
    assert next(each["status"] for each in jobs if each["kind"] == "file") == "failed"


def test_without_walls_text_is_read_and_documents_are_not(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_TOOL_SANDBOX": "off"})
    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f"}).json()

        def send(name: str, data: bytes) -> Any:
            answer = http.post(f"/v1/folders/{folder['id']}/upload", files={"file": (name, data)})
            return when_read(http, answer.json())

        assert send("a.txt", b"words")["processing_status"] == "completed"
        for name, data in (("a.pdf", pdf()), ("a.html", HTML)):
            refused = send(name, data)
            assert refused["processing_status"] == "error"
            assert "walls" in refused["error_message"]
            assert "FOLKMOOT_TOOL_SANDBOX=off" in refused["error_message"]


def test_a_better_upload_counts_though_the_one_before_it_cannot_be_read(
    http: httpx.Client, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    damaged = upload(folder, "leaflet.pdf", b"%PDF-1.4\n" + b"garbage " * 20_000, wait=False)
    until(lambda: any(job["subject_id"] == damaged["id"] for job in http.get("/v1/jobs/active").json()))
    read = upload(folder, "leaflet.pdf", "better\n", duplicate_handling="replace")
    assert (read["id"], read["processing_status"], read["error_message"]) == (damaged["id"], "completed", None)
    assert text_of(http, read) == "better\n"
