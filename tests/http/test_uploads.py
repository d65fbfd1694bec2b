"""Uploads: what becomes of a file, of its name, of a second one of that name, and what is refused."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta
from uploading import NewFolder, Upload, follow, text_of, when_read

from folkmoot.files.decoding import tell_encoding
from support.clients import plain_client
from support.fixtures import NewAgent, StartServer, one_store


def test_an_upload_is_answered_at_once_and_read_behind(
    http: httpx.Client, client: Letta, new_folder: NewFolder
) -> None:
    folder = new_folder()
    text = "# Kettles\n\nThe kettle is red.\n\n## Herons\n\nThe heron stands still.\n"
    sent = client.folders.files.upload(folder["id"], file=("notes.md", text.encode(), "text/markdown"))
    assert (sent.file_name, sent.original_file_name) == (f"{folder['name']}/notes.md", "notes.md")
    assert (sent.file_type, sent.file_size, sent.processing_status) == ("text/x-markdown", len(text), "parsing")
    read = when_read(http, {"id": sent.id, "source_id": folder["id"]})
    assert (read["processing_status"], read["error_message"], read["version"]) == ("completed", None, 1)
    assert read["file_name"] == "notes.md"
    assert read["content"] is None
    assert text_of(http, read) == text
    jobs = http.get("/v1/jobs", params={"source_id": folder["id"]}).json()
    job = next(each for each in jobs if each["kind"] == "file")
    assert (job["subject_id"], job["status"]) == (sent.id, "completed")
    assert job["progress"] | {"stage": ""} == {
        "stage": "",
        "bytes_done": len(text),
        "bytes_total": len(text),
        "items_done": read["total_chunks"],
        "items_total": read["total_chunks"],
    }


def test_chunks_stand_under_their_headings_with_their_lines(
    http: httpx.Client, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder(embedding_chunk_size=16)
    text = (
        "# Tea\n\nGreen tea wants 80 degrees.\n\n"
        "## Pots\n\nA pot of clay remembers. It is never washed with any soap.\n"
    )
    upload(folder, "tea.md", text)
    chunks = http.get(f"/v1/folders/{folder['id']}/passages").json()
    chunks.sort(key=lambda chunk: chunk["first_line"])
    assert "".join(chunk["text"] for chunk in chunks) == text
    assert [(chunk["heading"], chunk["first_line"], chunk["last_line"]) for chunk in chunks] == [
        ("Tea", 1, 4),
        ("Tea › Pots", 5, 7),
        ("Tea › Pots", 7, 7),
    ]
    assert {chunk["file_name"] for chunk in chunks} == {f"{folder['name']}/tea.md"}
    assert http.get(f"/v1/sources/{folder['id']}/passages", params={"limit": 1}).json()[0] in chunks


JAPANESE = "日本語の文章です。これは試験です。\n"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"one line", "one line"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        ("größer\n".encode("latin-1") * 20, "größer\n" * 20),
        ("\ufeffWörter\n".encode(), "Wörter\n"),
        ("Wörter\n".encode("utf-16"), "Wörter\n"),
        ("日本語の文章です。これは試験です。\n".encode("shift_jis") * 20, "日本語の文章です。これは試験です。\n" * 20),
        (b"x" * 100_000 + "é".encode("latin-1") + b"\n", "x" * 100_000 + "é\n"),
        (f"x{JAPANESE * 3000}".encode("shift_jis"), f"x{JAPANESE * 3000}"),
        (JAPANESE.encode("utf-16-be"), JAPANESE),
        ("Wörter\n".encode("utf-16-le") * 20_000, "Wörter\n" * 20_000),
        ("Wörter\n".encode("utf-32"), "Wörter\n"),
        (b"<!---->" * 40 + b"text", "<!---->" * 40 + "text"),
    ],
    ids=[
        *("empty", "no end", "ends of lines", "latin-1", "marked", "utf-16", "shift_jis", "late latin-1"),
        *("long shift_jis", "unmarked utf-16-be", "unmarked utf-16-le", "utf-32", "comments"),
    ],
)
@one_store
def test_text_of_any_encoding_is_read(
    http: httpx.Client, new_folder: NewFolder, upload: Upload, data: bytes, text: str
) -> None:
    read = upload(new_folder(), "a.txt", data)
    assert (read["processing_status"], read["error_message"]) == ("completed", None)
    assert text_of(http, read) == text


@one_store
def test_names_are_kept_without_folders_and_checked(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    for name, kept in (
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Users\\ada\\notes.txt", "notes.txt"),
        ("Ünïcode 😀 \u200fعربي.txt", "Ünïcode 😀 \u200fعربي.txt"),
        ("%2e%2e%2fx.txt", "%2e%2e%2fx.txt"),
    ):
        assert upload(folder, "orig.txt", "x", name=name, wait=False)["file_name"] == f"{folder['name']}/{kept}"
    for name, words in (
        ("..", ["'..'", "?name="]),
        ("a/", ["?name="]),
        ("x" * 300 + ".txt", ["304", "255"]),
        ("evil\u202etxt.exe", ["U+202E"]),
        ("two\nlines", ["U+000A"]),
    ):
        answer = http.post(f"/v1/folders/{folder['id']}/upload", params={"name": name}, files={"file": ("a.txt", b"x")})
        assert_error(answer, 422, "file", *words)
    assert_error(
        http.post(f"/v1/folders/{folder['id']}/upload?name=a%00b", files={"file": ("a.txt", b"x")}), 400, "NUL"
    )
    files = http.get(f"/v1/folders/{folder['id']}/files").json()
    assert len(files) == 4


def test_a_second_file_of_a_name(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    first = upload(folder, "readme.md", "first")
    assert upload(folder, "readme.md", "second")["file_name"] == "readme_(1).md"
    third = upload(folder, "readme.md", "third", duplicate_handling="suffix")
    assert third["file_name"] == "readme_(2).md"
    address = f"/v1/folders/{folder['id']}/upload"
    skipped = http.post(address, params={"duplicate_handling": "skip"}, files={"file": ("readme.md", b"fourth")})
    assert (skipped.headers["x-upload-result"], skipped.json()["id"]) == ("skipped", third["id"])
    refused = http.post(address, params={"duplicate_handling": "error"}, files={"file": ("readme.md", b"fifth")})
    assert_error(refused, 400, "readme.md", folder["name"], "duplicate_handling")
    replaced = upload(folder, "readme.md", "sixth", duplicate_handling="replace")
    assert (replaced["id"], replaced["version"], replaced["file_name"]) == (first["id"], 2, "readme.md")
    assert text_of(http, replaced) == "sixth"
    bad = http.post(address, params={"duplicate_handling": "whatever"}, files={"file": ("readme.md", b"x")})
    assert_error(bad, 422, "duplicate_handling", "whatever")
    new = upload(folder, "other.md", "x", duplicate_handling="replace")
    assert new["version"] == 1
    files = http.get(f"/v1/folders/{folder['id']}/files", params={"include_content": True, "order": "asc"}).json()
    assert [(each["file_name"], each["content"]) for each in files] == [
        ("readme.md", "sixth"),
        ("readme_(1).md", "second"),
        ("readme_(2).md", "third"),
        ("other.md", "x"),
    ]


@pytest.mark.parametrize("handling", ["suffix", "error", "skip", "replace"])
@pytest.mark.every_case_on_both
def test_uploads_of_one_name_at_once(http: httpx.Client, new_folder: NewFolder, handling: str) -> None:
    folder = new_folder()

    def send(number: int) -> httpx.Response:
        return http.post(
            f"/v1/folders/{folder['id']}/upload",
            params={"duplicate_handling": handling},
            files={"file": ("a.txt", f"upload {number}".encode())},
        )

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    files = http.get(f"/v1/folders/{folder['id']}/files").json()
    names = sorted(each["file_name"] for each in files)
    if handling == "suffix":
        assert names == sorted(["a.txt", *(f"a_({number}).txt" for number in range(1, 6))])
    else:
        assert names == ["a.txt"]
        refused = sum(answer.status_code == 400 for answer in answers)
        assert refused == (5 if handling == "error" else 0)
        assert sum("x-upload-result" in answer.headers for answer in answers) == (5 if handling == "skip" else 0)
    for file in files:
        read = when_read(http, file)
        assert (read["processing_status"], text_of(http, read)[:7]) == ("completed", "upload ")
        assert read["version"] == (6 if handling == "replace" else 1)


def test_a_file_is_found_in_its_own_folder_only(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder, other = new_folder(), new_folder()
    file = upload(folder, "a.txt", "x")
    address = f"/v1/folders/{other['id']}"
    assert_error(http.get(f"{address}/files/{file['id']}"), 404, other["id"])
    assert_error(http.delete(f"{address}/{file['id']}"), 404, other["id"])
    assert_error(http.get(f"/v1/folders/{folder['id']}/files/file-{UNKNOWN}"), 404, "not found")
    assert http.delete(f"/v1/folders/{folder['id']}/{file['id']}").status_code == 204
    assert_error(http.delete(f"/v1/folders/{folder['id']}/{file['id']}"), 404)
    assert http.get(f"/v1/folders/{folder['id']}/files").json() == []


@one_store
@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("x.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "picture"),
        ("really.txt", b"\x7fELF\x02\x01\x01\0\0", "NUL"),
        ("zeros.md", b"\0" * 100_000, "NUL"),
        ("x.zip", b"PK\x03\x04\x14\0\0\0\0\0 nothing of a document", "no document"),
        ("noise.txt", bytes(range(1, 9)) * 1000, "control characters"),
        ("locked.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504), "encrypted"),
    ],
)
def test_what_is_no_text_and_no_document_is_refused(
    http: httpx.Client, new_folder: NewFolder, name: str, data: bytes, word: str
) -> None:
    folder = new_folder()
    answer = http.post(f"/v1/folders/{folder['id']}/upload", files={"file": (name, data)})
    assert_error(answer, 415, name, "PDF", word)
    assert http.get(f"/v1/folders/{folder['id']}/files").json() == []


def test_binary_behind_text_is_an_error_on_the_file(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    first = upload(folder, "a.txt", "good text\n")
    read = upload(folder, "a.txt", b"words\n" * 50_000 + b"\0\1\2" * 100, duplicate_handling="replace")
    assert (read["processing_status"], read["version"]) == ("error", 1)
    assert "NUL" in read["error_message"]
    assert text_of(http, first) == "good text\n"
    again = upload(folder, "a.txt", "better\n", duplicate_handling="replace")
    assert (again["processing_status"], again["version"], again["error_message"]) == ("completed", 3, None)


@one_store
def test_forms_that_are_none(http: httpx.Client, new_folder: NewFolder) -> None:
    address = f"/v1/folders/{new_folder()['id']}/upload"
    assert_error(http.post(address), 422, "file")
    assert_error(http.post(address, json={"file": "x"}), 422, "file")
    assert_error(http.post(address, files={"other": ("a.txt", b"x")}), 422, "file")
    assert_error(http.post(address, data={"file": "x"}), 422, "file")
    assert_error(http.post(address, files=[("file", ("a", b"x")), ("file", ("b", b"x"))]), 400)
    unknown = http.post(f"/v1/folders/source-{UNKNOWN}/upload", files={"file": ("a.txt", b"x")})
    assert_error(unknown, 404, "not found")


@one_store
def test_a_file_may_be_larger_than_a_body_but_not_than_its_limit(start_server: StartServer) -> None:
    server = start_server(env={"FOLKMOOT_MAX_BODY": "100000", "FOLKMOOT_MAX_FILE": "300000"})
    with plain_client(server.url) as http:
        folder = http.post("/v1/folders", json={"name": "f"}).json()
        address = f"/v1/folders/{folder['id']}/upload"
        fits = http.post(address, files={"file": ("fits.txt", b"x" * 300_000)})
        assert when_read(http, fits.json())["processing_status"] == "completed"
        assert_error(http.post(address, files={"file": ("a.txt", b"x" * 300_001)}), 413, "FOLKMOOT_MAX_FILE")
        assert_error(http.post(address, files={"file": ("a.txt", b"x" * 900_000)}), 413, "FOLKMOOT_MAX_FILE")

        def endless() -> Any:
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            for _ in range(100):
                yield b"\0" * 100_000

        header = {"content-type": "multipart/form-data; boundary=b"}
        assert_error(http.post(address, content=endless(), headers=header), 413, "FOLKMOOT_MAX_FILE")
        assert [each["file_name"] for each in http.get(f"/v1/folders/{folder['id']}/files").json()] == ["fits.txt"]


def test_a_deleted_file_is_read_no_further(http: httpx.Client, new_folder: NewFolder, upload: Upload) -> None:
    folder = new_folder()
    file = upload(folder, "big.txt", "a line of a text that takes a while\n" * 100_000, wait=False)
    jobs = f"/v1/jobs?source_id={folder['id']}"
    follow(http, jobs, lambda found: any(each["progress"]["items_done"] for each in found))
    assert http.delete(f"/v1/folders/{folder['id']}/{file['id']}").status_code == 204
    ended = follow(http, jobs, lambda found: all(each["status"] not in ("created", "running") for each in found))
    assert {each["status"] for each in ended if each["kind"] == "file"} == {"cancelled"}
    assert http.get(f"/v1/folders/{folder['id']}/passages").json() == []


def test_half_a_file_is_never_shown(
    http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    folder = new_folder()
    agent = new_agent(folder_ids=[folder["id"]])
    file = upload(folder, "big.txt", "first\n" * 1000)
    big = "second, and much longer\n" * 50_000
    upload(folder, "big.txt", big, wait=False, duplicate_handling="replace")
    jobs = f"/v1/jobs?source_id={folder['id']}&active=true"
    follow(http, jobs, lambda found: any(each["progress"]["items_done"] for each in found))
    seen = http.get(f"/v1/agents/{agent.id}/files").json()["files"][0]
    assert json.loads(json.dumps(seen["visible_content"])).splitlines()[1] == "1: first"
    assert text_of(http, file) == "first\n" * 1000
    assert when_read(http, file)["version"] == 2
    seen = http.get(f"/v1/agents/{agent.id}/files").json()["files"][0]
    assert seen["visible_content"].splitlines()[1] == "1: second, and much longer"
    assert seen["version"] == 2
    assert text_of(http, file) == big


def test_a_single_line_of_any_length_is_cut_found_and_shown_from_its_beginning(
    http: httpx.Client, new_agent: NewAgent, new_folder: NewFolder, upload: Upload
) -> None:
    """What takes 200 MB in one line goes the same way: pieces, chunks and views are bounded, not lines."""
    folder = new_folder()
    agent = new_agent(folder_ids=[folder["id"]])
    line = "the heron stands and " * 50_000 + "zyzzyva " + "the owl sleeps and " * 50_000
    file = upload(folder, "line.txt", line)
    assert (file["processing_status"], file["error_message"]) == ("completed", None)
    passages = http.get(f"/v1/folders/{folder['id']}/passages", params={"limit": 100, "order": "asc"}).json()
    assert {(each["first_line"], each["last_line"]) for each in passages} == {(1, 1)}
    assert max(len(each["text"]) for each in passages) <= 4 * 300
    assert text_of(http, file) == line
    (seen,) = http.get(f"/v1/agents/{agent.id}/files").json()["files"]
    assert seen["visible_content"].startswith("[Viewing file start (out of 1 lines)]\n1: the heron")
    assert len(seen["visible_content"]) < 3000
    said = {"input": 'CALL semantic_search_files {"query": "zyzzyva", "limit": 1}'}
    answer = http.post(f"/v1/agents/{agent.id}/messages", json=said).json()["messages"]
    assert any("zyzzyva" in str(each.get("tool_return")) for each in answer)


@one_store
@pytest.mark.parametrize(("name", "data"), [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.txt", b"\xff\xd8\xff\xe0 JFIF")])
def test_the_beginning_of_a_picture_is_no_text(
    http: httpx.Client, new_folder: NewFolder, name: str, data: bytes
) -> None:
    address = f"/v1/folders/{new_folder()['id']}/upload"
    assert_error(http.post(address, files={"file": (name, data)}), 415, "picture")


PORTUGUESE = (
    "Não há razão para a reunião de amanhã: a direção e a administração já tomaram as decisões, "
    "e as informações estão em São João.\n"
)
CZECH = (
    "Příliš žluťoučký kůň úpěl ďábelské ódy, a proto se dnes sešli všichni členové a řekli, že příště přijdou dříve.\n"
) * 3


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Größe 12 m", "latin-1"),
        ("café crème", "cp1252"),
        ("Straße", "latin-1"),
        ("Привет, мир. Как дела сегодня, друзья?", "cp1251"),
        ("これは日本語の文章です。", "shift_jis"),
        (PORTUGUESE, "cp1252"),
        (PORTUGUESE * 9, "cp1252"),
        (CZECH, "cp1250"),
        (CZECH, "iso8859-2"),
    ],
)
def test_short_texts_of_other_encodings(text: str, encoding: str) -> None:
    data = text.encode(encoding)
    assert data.decode(tell_encoding(data)) == text
