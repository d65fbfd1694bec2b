"""Lists of blocks over HTTP: filters, counts and pages, through the official client."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any
from uuid import uuid4

import httpx
import pytest
from assertions import UNKNOWN, assert_error
from letta_client import Letta

from support.fixtures import NewAgent, NewBlock


@pytest.fixture
def tag() -> str:
    """A tag that no other test uses, to find this test's blocks by."""
    return f"tag_{uuid4().hex}"


def labels(client: Letta, **wanted: Any) -> set[str | None]:
    return {block.label for block in client.blocks.list(**wanted)}


def test_by_label(client: Letta, new_block: NewBlock) -> None:
    block = new_block()
    same = new_block(label=block.label)
    new_block(label=f"{block.label}_longer")
    assert [found.id for found in client.blocks.list(label=block.label)] == [block.id, same.id]


def test_by_tags_any_or_all(client: Letta, new_block: NewBlock, tag: str) -> None:
    new_block(label="both", tags=[tag, f"{tag}_2"])
    new_block(label="one", tags=[tag])
    new_block(label="other", tags=[f"{tag}_2"])
    new_block(label="none")
    assert labels(client, tags=[tag]) == {"both", "one"}
    assert labels(client, tags=[tag, f"{tag}_2"]) == {"both", "one", "other"}
    assert labels(client, tags=[tag, f"{tag}_2"], match_all_tags=True) == {"both"}
    assert labels(client, tags=[tag, tag], match_all_tags=True) == {"both", "one"}
    assert labels(client, tags=[f"{tag}_3"]) == set()


def test_tags_that_were_changed_are_found_as_they_are_now(client: Letta, new_block: NewBlock, tag: str) -> None:
    block = new_block(tags=[tag])
    client.blocks.update(block.id, tags=[f"{tag}_2"])
    assert labels(client, tags=[tag]) == set()
    assert labels(client, tags=[f"{tag}_2"]) == {block.label}


@pytest.mark.parametrize("field", ["label", "description", "value"])
@pytest.mark.parametrize(
    ("part", "found"),
    [
        ("needle", {"plain", "upper"}),
        ("NEEDLE", {"plain", "upper"}),
        ("100%", {"percent"}),
        ("a_b", {"underscore"}),
        ("\\", {"backslash"}),
        ("'", {"quote"}),
        ("/", {"slash"}),
        ("straße", {"umlaut"}),
        ("ÜBER", {"umlaut"}),
        ("no such part", set()),
    ],
)
@pytest.mark.every_case_on_both
def test_by_part_of_a_field(
    client: Letta, new_block: NewBlock, tag: str, field: str, part: str, found: set[str]
) -> None:
    texts = {
        "plain": "a needle here",
        "upper": "A Needle",
        "percent": "100% sure",
        "no percent": "100 sure",
        "underscore": "a_b",
        "no underscore": "axb",
        "backslash": "a\\b",
        "quote": "it's",
        "slash": "a/b",
        "umlaut": "über die straße",
    }
    for name, text in texts.items():
        new_block(tags=[tag], metadata={"name": name}, **{field: text})
    listed = client.blocks.list(tags=[tag], **{f"{field}_search": part})
    assert {(block.metadata or {})["name"] for block in listed} == found


def test_by_how_many_agents_have_it(client: Letta, new_block: NewBlock, new_agent: NewAgent, tag: str) -> None:
    blocks = [new_block(label=f"of_{count}", tags=[tag]) for count in range(4)]
    for count in range(3):
        new_agent(block_ids=[block.id for block in blocks[count + 1 :]])
    assert labels(client, tags=[tag], connected_to_agents_count_gt=0) == {"of_1", "of_2", "of_3"}
    assert labels(client, tags=[tag], connected_to_agents_count_gt=2) == {"of_3"}
    assert labels(client, tags=[tag], connected_to_agents_count_lt=1) == {"of_0"}
    assert labels(client, tags=[tag], connected_to_agents_count_eq=[0, 3]) == {"of_0", "of_3"}
    both = {"connected_to_agents_count_gt": 0, "connected_to_agents_count_lt": 3}
    assert labels(client, tags=[tag], **both) == {"of_1", "of_2"}


@pytest.mark.parametrize("count", [2**31, 2**63, 10**30, -(10**30)])
@pytest.mark.parametrize("name", ["gt", "lt", "eq"])
@pytest.mark.every_case_on_both
def test_a_count_of_agents_of_any_size_is_answered(http: httpx.Client, name: str, count: int) -> None:
    answer = http.get("/v1/blocks/", params={f"connected_to_agents_count_{name}": count, "limit": 1})
    assert answer.status_code in (200, 422), answer.text


def test_templates_and_projects(client: Letta, new_block: NewBlock, tag: str) -> None:
    new_block(label="template", tags=[tag], is_template=True, template_name=f"name_{tag}")
    new_block(label="of_project", tags=[tag], project_id=f"project_{tag}")
    assert labels(client, tags=[tag], templates_only=True) == {"template"}
    assert labels(client, name=f"name_{tag}") == {"template"}
    assert labels(client, project_id=f"project_{tag}") == {"of_project"}
    assert labels(client, tags=[tag], identity_id="identity-1") == set()


def test_filters_are_counted_alike(http: httpx.Client, new_block: NewBlock, tag: str) -> None:
    for number in range(3):
        new_block(tags=[tag], value=f"number {number}")
    assert http.get("/v1/blocks/count", params={"tags": tag}).json() == 3
    assert http.get("/v1/blocks/count", params={"tags": tag, "value_search": "number 1"}).json() == 1
    assert http.get("/v1/blocks/count/", params={"tags": f"{tag}_none"}).json() == 0


# -- pages ---------------------------------------------------------------------------------------------------


@pytest.fixture
def seven(new_block: NewBlock, tag: str) -> list[str]:
    """Seven blocks, oldest first; others are made between them."""
    made = []
    for _ in range(7):
        made.append(new_block(tags=[tag]).id)
        new_block()
    return made


def ids_of(blocks: Sequence[Any]) -> list[str]:
    return [block.id for block in blocks]


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_the_client_pages_through_all_without_gap_or_duplicate(
    client: Letta, seven: list[str], tag: str, limit: int, order: Any
) -> None:
    wanted = seven if order == "asc" else seven[::-1]
    listed = islice(client.blocks.list(tags=[tag], limit=limit, order=order), 2 * len(wanted))
    assert ids_of(list(listed)) == wanted


def test_the_oldest_come_first_unless_the_request_says_otherwise(client: Letta, seven: list[str], tag: str) -> None:
    assert ids_of(client.blocks.list(tags=[tag]).items) == seven
    assert ids_of(client.blocks.list(tags=[tag], limit=2).items) == seven[:2]
    assert ids_of(client.blocks.list(tags=[tag], limit=2, order="desc").items) == seven[:4:-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_before_gives_the_items_in_front(client: Letta, seven: list[str], tag: str, order: Any) -> None:
    wanted = seven if order == "asc" else seven[::-1]
    found: list[str] = []
    cursor = wanted[-1]
    while page := client.blocks.list(tags=[tag], limit=2, order=order, before=cursor).items:
        found = [*ids_of(page), *found]
        assert len(found) < len(wanted)
        cursor = page[0].id
    assert found == wanted[:-1]


def test_after_and_before_together_bound_a_page(client: Letta, seven: list[str], tag: str) -> None:
    page = client.blocks.list(tags=[tag], after=seven[1], before=seven[5]).items
    assert ids_of(page) == seven[2:5]


def test_a_page_may_be_continued_while_blocks_come_and_go(
    client: Letta, new_block: NewBlock, seven: list[str], tag: str
) -> None:
    first = client.blocks.list(tags=[tag], limit=3).items
    client.blocks.delete(seven[0])
    client.blocks.delete(seven[4])
    newest = new_block(tags=[tag]).id
    rest = client.blocks.list(tags=[tag], after=first[-1].id).items
    assert ids_of(rest) == [seven[3], seven[5], seven[6], newest]


@pytest.mark.parametrize("cursor", [f"block-{UNKNOWN}", "nonsense", "", "%"])
def test_an_unknown_cursor_begins_anew(http: httpx.Client, seven: list[str], tag: str, cursor: str) -> None:
    for name, wanted in (("after", seven[:2]), ("before", seven[-2:])):
        page = http.get("/v1/blocks/", params={name: cursor, "tags": tag, "limit": 2}).json()
        assert [block["id"] for block in page] == wanted


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"limit": "0"}, ["limit", "'0'"]),
        ({"limit": "-1"}, ["limit", "'-1'"]),
        ({"limit": "few"}, ["limit", "'few'"]),
        ({"order": "up"}, ["order", "'up'"]),
        ({"order_by": "updated_at"}, ["order_by", "'updated_at'"]),
        ({"match_all_tags": "perhaps"}, ["match_all_tags", "'perhaps'"]),
        ({"connected_to_agents_count_gt": "x"}, ["connected_to_agents_count_gt", "'x'"]),
    ],
    ids=repr,
)
def test_a_query_that_cannot_be_read_is_refused(http: httpx.Client, query: dict[str, str], words: list[str]) -> None:
    assert_error(http.get("/v1/blocks/", params=query), 422, *words)


def test_hundreds_of_blocks_fit_a_page_and_no_more_than_asked_for_come(http: httpx.Client, tag: str) -> None:
    for number in range(60):
        assert http.post("/v1/blocks/", json={"label": str(number), "value": "", "tags": [tag]}).status_code == 200
    assert len(http.get("/v1/blocks/", params={"tags": tag}).json()) == 50
    assert len(http.get("/v1/blocks/", params={"tags": tag, "limit": 1000}).json()) == 60
