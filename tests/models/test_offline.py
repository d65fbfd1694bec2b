from __future__ import annotations

import json
from typing import Any

import pytest

from folkmoot.models.blocks_in_prompt import ShownBlock, find_block, render_blocks, shown_blocks
from folkmoot.models.offline import answer, pieces
from folkmoot.models.prompt import (
    AssistantMessage,
    ModelOptions,
    Prompt,
    Reply,
    TextDelta,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.models.requests import ModelClient
from folkmoot.settings import Settings


def tool(name: str, *properties: str) -> ToolSchema:
    return ToolSchema(name, "", {"type": "object", "properties": {key: {"type": "string"} for key in properties}})


TOOLS = [
    tool("web_search", "query"),
    tool("memory_insert", "label", "new_string"),
    tool("conversation_search", "query"),
]
BLOCKS = [
    ShownBlock("persona", "I am a helpful agent.", 4000, None, 1, "write"),
    ShownBlock("organization", "Organization: Letta", 4000, None, 1, "write"),
    ShownBlock("policies", "Company Policy: Always be helpful & respectful.", 4000, None, 1, "read"),
]
MEMORY = render_blocks(BLOCKS)
RESULTS = json.dumps(
    {
        "query": "memory blocks",
        "results": [
            {
                "title": "Weather",
                "url": "http://a",
                "text": "It rained all day in the hills. Bring a coat with you.",
            },
            {
                "title": "Blocks",
                "url": "http://b",
                "highlights": [
                    "Memory blocks are a core idea of Letta.",
                    "Letta agents edit memory blocks with tools.",
                ],
            },
        ],
    }
)
TUTORIAL = """
Find information about the connection between memory blocks and Letta.
Insert what you learn into the memory block, prepended with "Agent1: ".
"""


class Conversation:
    """Plays the turn loop: the tools answer as they are told to."""

    def __init__(self, request: str, memory: str = MEMORY, tools: list[ToolSchema] = TOOLS, **answers: Any) -> None:
        self.turns: list[Any] = [UserMessage(request)]
        self.memory, self.tools, self.answers = memory, tools, answers
        self.called: list[tuple[str, dict[str, Any]]] = []
        self.asked = 0

    def run(self) -> Reply:
        while True:
            self.asked += 1
            assert self.asked <= 4
            reply = answer(Prompt("You are an agent.", self.turns, self.memory, self.tools))
            if not reply.tool_calls:
                return reply
            self.turns.append(AssistantMessage(reply.text, (), reply.tool_calls))
            for call in reply.tool_calls:
                self.called.append((call.name, json.loads(call.arguments)))
                told = self.answers.get(call.name, "done")
                failed = told.startswith("Error")
                self.turns.append(ToolReturn(call.id, call.name, told, failed))


@pytest.mark.parametrize("results", [RESULTS, "Memory blocks are a core idea of Letta.\nNothing else matters here."])
def test_tutorial(results: str) -> None:
    played = Conversation(TUTORIAL, web_search=results)
    last = played.run()
    (search, query), (insert, written) = played.called
    assert (search, query) == ("web_search", {"query": "connection between memory blocks and Letta"})
    assert (insert, written["label"]) == ("memory_insert", "organization")
    assert written["new_string"].startswith("Agent1: Memory blocks are a core idea of Letta.")
    assert "rained" not in written["new_string"]
    assert "organization" in last.text
    assert played.asked == 3


def test_tutorial_second_agent() -> None:
    request = TUTORIAL.replace("connection between memory blocks and", "origin of").replace("Agent1", "Agent2")
    played = Conversation(request, web_search="Letta originated as MemGPT, a research project.")
    played.run()
    assert played.called[0][1] == {"query": "origin of Letta"}
    assert played.called[1][1]["new_string"] == "Agent2: Letta originated as MemGPT, a research project."


def test_same_prompt_same_words() -> None:
    prompt = Prompt("", [UserMessage(TUTORIAL)], MEMORY, TOOLS)
    first, second = answer(prompt), answer(prompt)
    assert first.tool_calls[0].arguments == second.tool_calls[0].arguments
    assert first.tool_calls[0].id != second.tool_calls[0].id
    assert first.usage.prompt_tokens > 50


@pytest.mark.parametrize("broken", ["web_search", "memory_insert"])
def test_failed_tool_is_told_and_not_tried_again(broken: str) -> None:
    played = Conversation(TUTORIAL, **{"web_search": RESULTS, broken: "Error: no such luck"})
    assert "no such luck" in played.run().text
    assert [name for name, _ in played.called].count(broken) == 1


def test_search_without_results_or_tool() -> None:
    assert "nothing" in Conversation(TUTORIAL, web_search='{"results": []}').run().text
    assert "no web_search tool" in Conversation(TUTORIAL, tools=TOOLS[1:]).run().text


@pytest.mark.parametrize(
    ("request_", "label", "text"),
    [
        ("Remember that my birthday is in May.", "organization", "my birthday is in May."),
        (
            "Please add 'x' to nothing: add \"We meet on Mondays.\" to the organization block",
            "organization",
            "We meet on Mondays.",
        ),
        ("Note we sail at dawn in your persona block.", "persona", "we sail at dawn"),
    ],
)
def test_notes(request_: str, label: str, text: str) -> None:
    played = Conversation(request_)
    played.run()
    assert played.called == [("memory_insert", {"label": label, "new_string": text})]


def test_read_only_block_is_left_alone() -> None:
    played = Conversation('Add "Anything goes." to the policies block.')
    assert "read-only" in played.run().text
    assert played.called == []


def test_questions_are_answered_from_memory() -> None:
    assert "Always be helpful & respectful." in Conversation("What is the company policy?").run().text


def test_says_what_it_is() -> None:
    for request in ("Write me a poem", "Hello!", ""):
        played = Conversation(request, memory="", tools=[])
        assert played.run().text
    assert "rule follower" in Conversation("Hello!", memory="").run().text


def test_tool_choice_none() -> None:
    prompt = Prompt("", [UserMessage(TUTORIAL)], MEMORY, TOOLS, ModelOptions(tool_choice="none"))
    assert answer(prompt).tool_calls == ()


def test_blocks_are_read_from_the_prompt() -> None:
    assert shown_blocks(MEMORY) == BLOCKS
    assert find_block([], "anything") is None


def test_words_are_streamed() -> None:
    reply = Reply("One two  three.")
    assert "".join(piece.text for piece in pieces(reply) if isinstance(piece, TextDelta)) == reply.text


async def test_through_the_client() -> None:
    client = ModelClient(Settings(_env_file=None), {})
    prompt = Prompt("", [UserMessage("Hello")])
    reply = await client.ask("offline/notetaker", prompt)
    *deltas, last = [item async for item in client.stream("offline/notetaker", prompt)]
    assert reply == last
    assert len(deltas) > 3


TASKS = "[done by ben] sweep the hall\n[ ] light the fire\n[ ] call the folk"
FOUND = "Locks make writers wait. A lost update is a write that another one erased."
TEAM = render_blocks(
    [
        ShownBlock("findings", FOUND, 4000, None, 1, "read"),
        ShownBlock("report", "", 4000, None, 1, "write"),
        ShownBlock("tasks", TASKS, 4000, None, 1, "write"),
    ]
)
REPLACE = [*TOOLS, tool("memory_replace", "label", "old_string", "new_string")]


def test_what_one_block_says_is_passed_on_to_another() -> None:
    request = "Take what the findings block says about lost updates and insert it into the report block{}."
    for more, prefix in (("", ""), (', prepended with "Ben: "', "Ben: ")):
        played = Conversation(request.format(more), memory=TEAM)
        played.run()
        written = {"label": "report", "new_string": f"{prefix}A lost update is a write that another one erased."}
        assert played.called == [("memory_insert", written)]
    assert "says nothing about ships" in Conversation(request.replace("lost updates", "ships"), memory=TEAM).run().text


CLAIM = 'Claim one open task of the tasks block: replace "[ ]" in its line by "[ada]".'


def test_words_of_a_line_are_replaced() -> None:
    played = Conversation(CLAIM, memory=TEAM, tools=REPLACE)
    assert "[ada] light the fire" in played.run().text
    line = {"label": "tasks", "old_string": "[ ] light the fire", "new_string": "[ada] light the fire"}
    assert played.called == [("memory_replace", line)]
    assert "No line" in Conversation(CLAIM.replace("[ ]", "[x]"), memory=TEAM, tools=REPLACE).run().text


def test_who_was_too_late_takes_the_next_line_and_gives_up_when_nothing_changed() -> None:
    played = Conversation(CLAIM, memory=TEAM, tools=REPLACE, memory_replace="Error: it stands nowhere")
    assert "it stands nowhere" in played.run().text
    assert len(played.called) == 1
    played.memory = TEAM.replace("[ ] light", "[cleo] light")
    again = answer(Prompt("", played.turns, played.memory, REPLACE))
    assert json.loads(again.tool_calls[0].arguments)["old_string"] == "[ ] call the folk"


@pytest.mark.parametrize("request_", ['Try to add "More." to the findings block.', CLAIM.replace("Claim", "Try")])
def test_what_it_is_told_to_try_is_tried(request_: str) -> None:
    memory = TEAM.replace('"tasks" access="write" read_only="false"', '"tasks" access="read" read_only="true"')
    assert memory != TEAM
    played = Conversation(request_, memory=memory, tools=REPLACE, memory_insert="Error: no", memory_replace="Error: no")
    assert "did not work: Error: no" in played.run().text
    assert len(played.called) == 1


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param("take " * 60_000, id="take"),
        pytest.param("Find out about x. " + "keep " * 60_000, id="keep"),
        pytest.param("Remember in" + " " * 300_000 + "x", id="spaces"),
        pytest.param("Remember " + "," * 300_000 + "x", id="commas"),
        pytest.param("Search the archive for x" + " " * 300_000 + "y", id="spaces behind a topic"),
        pytest.param("Remember " + "“" * 300_000, id="quotes"),
    ],
)
def test_a_long_request_is_answered_in_time(request_: str) -> None:
    """In time that grows with its length; with its square, each of these took minutes to hours."""
    assert Conversation(request_, memory=TEAM).run().text


@pytest.mark.parametrize("result", ["[" * 300_000, "[" * 300_000 + "a long sentence about boats."])
def test_a_result_of_many_brackets_is_read(result: str) -> None:
    results = json.dumps({"results": [{"text": result}]}) if "boats" in result else result
    assert Conversation("Find information about boats", tools=TOOLS, web_search=results).run().text


def test_a_topic_ends_where_its_sentence_does_and_the_rest_says_what_to_do() -> None:
    played = Conversation(
        "Find information about größe and insert it into the größe block", memory=TEAM, web_search=RESULTS
    )
    played.run()
    assert played.called[0] == ("web_search", {"query": "größe"})
