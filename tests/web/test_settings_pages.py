"""Settings of an agent, of a block and of the server: what is changed and tried, and what is not lost."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Route, expect

from support.clients import plain_client
from support.fixtures import MODEL, NewAgent, NewBlock, StartServer
from support.scripted_model import ScriptedModel
from support.server import ServerProcess
from web.conftest import OpenPage

ROLES = ("reader", "member", "admin")

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no scripts"])
def test_an_agents_settings_are_changed_and_a_new_system_prompt_is_looked_at_first(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, scripts: bool
) -> None:
    agent = new_agent(system="You help.\nYou are short.")
    page = open_page(f"/agents/{agent.id}", java_script_enabled=scripts)
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_label("Description").fill("Knows things")
    page.get_by_label("Tags, with commas between").fill("a, b")
    page.get_by_role("textbox", name="System prompt").fill("You help.\nYou are long.")
    page.get_by_label("Another agent tends its memory").check()
    page.get_by_label("What leaves", exact=True).select_option("all")
    page.get_by_label("Rules, as JSON").fill('[{"type": "exit_loop", "tool_name": "nobody"}]')
    page.get_by_role("button", name="Save", exact=True).click()
    changes = page.get_by_role("list", name="What changes in the system prompt")
    expect(changes.locator("del")).to_have_text("You are short.")
    expect(changes.locator("ins")).to_have_text("You are long.")
    assert http.get(f"/v1/agents/{agent.id}").json()["description"] is None, "nothing is saved before it was looked at"
    page.get_by_role("button", name="Save with this system prompt").click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    changed = http.get(f"/v1/agents/{agent.id}").json()
    assert (changed["description"], changed["tags"]) == ("Knows things", ["a", "b"])
    assert changed["system"] == "You help.\nYou are long."
    assert changed["managed_group"]["manager_type"] == "sleeptime"
    assert changed["compaction_settings"]["mode"] == "all"
    assert changed["compaction_settings"]["prompt"], "what was left empty is the server's own"
    assert changed["tool_rules"] == [{"type": "exit_loop", "tool_name": "nobody"}]
    assert changed["name"] == agent.name


def test_a_look_at_a_system_prompt_is_good_for_that_prompt_and_that_agent_only(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent(system="You help.")
    path = f"/agents/{agent.id}/settings"
    begun = fields_of(http, path)

    def post(system: str, **form: str) -> httpx.Response:
        return http.post(path, data={**begun, "system": system, **form})

    reviewed = re.findall(r'name="reviewed" value="(\w+)"', post("You rhyme.").raise_for_status().text)[0]
    other = post("You shout.", reviewed=reviewed)
    assert (other.status_code, "The system prompt changes" in other.text) == (200, True)
    assert reviewed not in re.findall(r'name="reviewed" value="(\w+)"', other.text)
    http.patch(f"/v1/agents/{agent.id}", json={"description": "theirs"}).raise_for_status()
    assert post("You rhyme.", reviewed=reviewed).status_code == 409, "somebody was there between the look and the click"
    assert http.get(f"/v1/agents/{agent.id}").json()["system"] == "You help."


def test_what_is_wrong_stands_at_its_field_and_nothing_has_to_be_written_again(
    http: httpx.Client, new_agent: NewAgent
) -> None:
    path = f"/agents/{new_agent().id}/settings"
    values = fields_of(http, path)
    wrong = {
        "model": ("nobody/nothing", "nobody"),
        "tool_rules": ("[{]", "no JSON"),
        "keep": ("130", "0 to 100"),
        "name": ("", "Fill this in"),
        "summary_model": ("nobody/nothing", "nobody"),
    }
    for field, (text, words) in wrong.items():
        answer = http.post(path, data={**values, "description": "kept", field: text})
        assert answer.status_code in (404, 422), field
        said = re.search(rf'id="problem-{field}" role="alert">([^<]*)', answer.text)
        assert said, field
        assert words in said[1]
        assert 'name="description" value="kept"' in answer.text
    rules = http.post(path, data={**values, "tool_rules": '[{"type": "exit_loop"}]'})
    assert "tool_rules.0.tool_name" in rules.text
    deep = http.post(path, data={**values, "tool_rules": "[" * 50_000})
    assert (deep.status_code, "this is no JSON" in deep.text) == (422, True)


def test_a_model_is_asked_before_it_is_chosen(
    open_page: OpenPage, new_agent: NewAgent, scripted_model: ScriptedModel
) -> None:
    agent = new_agent()
    for scripts in (True, False):
        page = open_page(f"/agents/{agent.id}/settings", java_script_enabled=scripts)
        page.get_by_label("Description").fill("not saved yet")
        page.get_by_role("button", name="Ask the model whether it is there").click()
        expect(page.locator("#model-checked")).to_contain_text("It answered after")
        scripted_model.fail_next(401, message="No such key.")
        page.get_by_role("button", name="Ask the model whether it is there").click()
        expect(page.locator(".problem:visible")).to_contain_text("key")
        expect(page.get_by_label("Description")).to_have_value("not saved yet")
        sent = scripted_model.requests[-1]
        assert sent["tools"], "an agent's questions have tools, and not every model takes them"
        if scripts:
            expect(page.get_by_role("button", name="Ask the model whether it is there")).to_be_focused()


def test_a_change_that_somebody_else_made_is_not_overwritten(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    agent, block = new_agent(), new_block(value="x")
    page = open_page(f"/agents/{agent.id}/settings")
    page.get_by_label("Description").fill("mine")
    http.patch(f"/v1/agents/{agent.id}", json={"description": "theirs"}).raise_for_status()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("alert").filter(has_text="Somebody has changed these settings")).to_be_visible()
    expect(page.locator(".moved q")).to_have_text("theirs")
    assert http.get(f"/v1/agents/{agent.id}").json()["description"] == "theirs"
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    assert http.get(f"/v1/agents/{agent.id}").json()["description"] == "mine"

    page.goto(f"/blocks/{block.id}")
    page.get_by_role("link", name="Settings", exact=True).click()
    page.get_by_label("Limit, in characters").fill("20")
    page.get_by_label("Agents cannot change it").check()
    page.get_by_label("Programs overwrite its text only").check()
    page.get_by_label("Label").press("Enter")
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    changed = http.get(f"/v1/blocks/{block.id}").json()
    assert (changed["limit"], changed["read_only"], changed["require_version"]) == (20, True, True)
    assert (changed["version"], changed["value"]) == (1, "x")
    page.get_by_label("Limit, in characters").fill("few")
    http.patch(f"/v1/blocks/{block.id}", json={"description": "theirs"}).raise_for_status()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".moved q")).to_have_text(["theirs", "20"])
    page.get_by_role("button", name="Save mine over it").click()
    expect(page.locator("#problem-limit")).to_contain_text("Write a whole number")


def test_what_was_not_saved_is_there_again_and_leaving_asks(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    agent, block = new_agent(), new_block(value="first")
    page = open_page(f"/agents/{agent.id}/settings", url=server.url)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    page.get_by_label("Description").click()
    page.keyboard.type("begun")
    page.get_by_role("link", name="Blocks", exact=True).click()
    expect(page).to_have_url(re.compile("/blocks$"))
    assert asked == ["beforeunload"]
    page.goto(f"/agents/{agent.id}/settings")
    expect(page.get_by_label("Description")).to_have_value("begun")
    page.get_by_role("button", name="Drop it").click()
    expect(page.get_by_label("Description")).to_have_value("")
    page.reload()
    expect(page.get_by_label("Description")).to_have_value("")
    page.get_by_label("Description").fill("saved")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()
    http.patch(f"/v1/agents/{agent.id}", json={"description": "theirs"}).raise_for_status()
    page.reload()
    expect(page.get_by_label("Description")).to_have_value("theirs")
    expect(page.get_by_text("what you had not saved")).to_have_count(0)
    assert asked == ["beforeunload"]

    page.goto(f"/blocks/{block.id}")
    page.get_by_role("button", name="Edit", exact=True).click()
    text = page.get_by_role("textbox", name="Text")
    text.fill("half a sentence")
    text.press("Escape")
    expect(text).to_be_hidden()
    http.patch(f"/v1/blocks/{block.id}", json={"value": "theirs"}).raise_for_status()
    page.reload()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(text).to_have_value("half a sentence")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="has written version 2 since you began")).to_be_visible()
    page.get_by_role("button", name="Drop mine").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    expect(text).to_have_value("theirs")


@pytest.mark.parametrize("field", ["Description", "Another agent tends its memory", "What leaves"])
def test_what_is_written_before_the_scripts_are_there_is_kept(
    open_page: OpenPage, new_agent: NewAgent, field: str
) -> None:
    agent = new_agent(description="theirs")
    page = open_page("/agents")
    control = page.get_by_label(field, exact=field == "What leaves")

    def write_first(route: Route) -> None:
        if field == "Description":
            control.fill("mine")
        elif field == "What leaves":
            control.select_option("all")
        else:
            control.check()
        route.continue_()

    page.route("**/unsaved.js*", write_first, times=1)
    page.goto(f"/agents/{agent.id}/settings")
    mine = control.evaluate("(field) => [field.checked, field.value]")
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect(page.get_by_text("what you had not saved")).to_be_visible()
    assert control.evaluate("(field) => [field.checked, field.value]") == mine


def test_what_was_sent_and_not_taken_is_there_again(
    open_page: OpenPage, start_server: StartServer, scripted_model: ScriptedModel
) -> None:
    """Where the session is over, the answer is no answer of ours, or the form was about something that is gone."""
    server = start_server(env={"FOLKMOOT_API_KEY": "the-key"})
    with httpx.Client(base_url=server.url, timeout=60, headers={"authorization": "Bearer the-key"}) as http:
        agent, other = (http.post("/v1/agents", json={"model": MODEL}).json()["id"] for _ in range(2))
        archive = http.post("/v1/archives", json={"name": "birds"}).json()["id"]
        http.post(f"/v1/agents/{agent}/messages", json={"input": "ECHO of herons"}).raise_for_status()
    page = open_page("/login", url=server.url)
    kept = page.get_by_text("what you had not saved")

    def sign_in() -> None:
        page.get_by_label("API key").fill("the-key")
        page.get_by_role("button", name="Sign in").click()

    sign_in()
    page.goto(f"/agents/{agent}/settings")
    page.get_by_label("Description").fill("mine")
    page.context.clear_cookies()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator("#problem-key")).to_contain_text("Sign in, then do it again.")
    sign_in()
    expect(kept).to_be_visible()
    expect(page.get_by_label("Description")).to_have_value("mine")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved.", exact=True)).to_be_visible()

    page.goto(f"/archives/{archive}")
    passage = page.get_by_role("textbox", name="Add a passage")
    passage.fill("Herons stand on one leg.")
    page.route("**/passages", lambda route: route.fulfill(status=502, body="No server."), times=1)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("No server.")).to_be_visible()
    page.goto("/blocks")
    page.goto(f"/archives/{archive}")
    expect(passage).to_have_value("Herons stand on one leg.")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".passage-text")).to_have_text("Herons stand on one leg.")
    expect(passage).to_have_value("")

    page.goto(f"/agents/{agent}")
    page.locator(".saying.user").hover()
    page.get_by_role("link", name="Edit and send again").click()
    editing = page.url
    page.locator("#message").fill("ECHO of storks")
    page.context.clear_cookies()
    page.locator("#message").press("Enter")
    expect(page.locator("#problem-key")).to_be_visible()
    sign_in()
    expect(page).to_have_url(editing)
    expect(page.locator("#message")).to_have_value("ECHO of storks")
    page.locator("#message").press("Enter")
    expect(page.locator(".saying.agent .text")).to_have_text("of storks")
    page.goto(editing)
    expect(page.locator("#message")).to_have_value("ECHO of herons")

    page.goto(f"/agents/{other}/settings")
    page.get_by_label("Description").fill("for nobody")
    page.evaluate(f"fetch('/v1/agents/{other}', {{ method: 'DELETE' }})")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
    assert "for nobody" in page.evaluate("JSON.stringify(localStorage)")


PRESS_TWICE = """() => {
  const press = () => document.querySelector(".make-form [type=submit]").click();
  setTimeout(press);
  setTimeout(() => { press(); fetch(`/static/icon.svg?${document.querySelector("#notice").textContent}`); }, 300);
}"""
"""Send the page's form again before its answer is there, and ask for what the page says: Playwright awaits answers."""


def test_a_form_that_is_sent_twice_does_it_once(
    server: ServerProcess, open_page: OpenPage, http: httpx.Client, new_block: NewBlock
) -> None:
    page = open_page("/blocks/new", url=server.url)
    block = new_block(value="one")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST":
            held.append(route)
        else:
            route.continue_()

    page.route(re.compile("/blocks/new$|/revert$"), hold)
    page.get_by_label("Label").fill(block.label)
    with page.expect_request("**/icon.svg?*") as told:
        page.evaluate(PRESS_TWICE)
    assert "This%20was%20sent." in told.value.url
    held.pop().continue_()
    expect(page).to_have_url(re.compile("/blocks/block-"))
    assert held == []
    assert len(http.get("/v1/blocks", params={"label": block.label}).json()) == 2

    http.patch(f"/v1/blocks/{block.id}", json={"value": "two"}).raise_for_status()
    page.goto(f"/blocks/{block.id}?version=1")
    page.get_by_role("button", name="Revert to v1…").click()
    page.get_by_role("button", name="Revert", exact=True).dblclick()
    held.pop().continue_()
    expect(page.locator("output")).to_have_text("v3")
    assert held == []


def test_a_key_press_on_a_menu_changes_nothing_by_itself(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent, new_block: NewBlock
) -> None:
    block = new_block()
    agent = new_agent(block_ids=[block.id])
    page = open_page(f"/blocks/{block.id}")
    menu = page.get_by_label(f"Access of {agent.name}")
    button = page.get_by_role("button", name="Set", exact=True)
    expect(button).to_be_hidden()
    with page.expect_request(re.compile("/blocks/attach/")) as sent:
        menu.press("ArrowDown")
        expect(button).to_be_visible()
        assert access_of(http, agent.id) == "write"
        button.press("Enter")
    assert sent.value.post_data_json == {"access": "append"}
    expect(menu).to_have_value("append")
    expect(button).to_be_hidden()
    assert access_of(http, agent.id) == "append"


def test_secrets_are_set_replaced_and_removed_and_never_shown(
    http: httpx.Client, new_agent: NewAgent, open_page: OpenPage
) -> None:
    agent = new_agent(secrets={"WEATHER_KEY": "sun-0123"})
    page = open_page(f"/agents/{agent.id}/settings")
    secrets = page.get_by_role("region", name="Secrets")
    for name, value in (("OTHER", "moon-4567"), ("WEATHER_KEY", "rain-8901")):
        secrets.get_by_label("Name").fill(name)
        secrets.get_by_label("Value").fill(value)
        secrets.get_by_role("button", name="Set it").click()
        expect(page).to_have_url(re.compile("#secrets$"))
        expect(secrets.locator("code", has_text=name)).to_be_visible()
    assert not re.search("sun-0123|moon-4567|rain-8901", page.content())
    assert not page.evaluate("Object.values(localStorage).some((kept) => /0123|4567|8901/.test(kept))")
    kept = http.get(f"/v1/agents/{agent.id}").json()["secrets"]
    assert {each["key"]: each["value"] for each in kept} == {"OTHER": "moon-4567", "WEATHER_KEY": "rain-8901"}
    secrets.get_by_role("button", name="Remove OTHER").click()
    expect(secrets.locator("code")).to_have_text(["WEATHER_KEY"])
    assert [each["key"] for each in http.get(f"/v1/agents/{agent.id}").json()["secrets"]] == ["WEATHER_KEY"]


def test_tools_are_told_tried_and_changed_in_the_settings(
    open_page: OpenPage, http: httpx.Client, new_agent: NewAgent
) -> None:
    agent = new_agent()
    page = open_page(f"/agents/{agent.id}/settings")
    tools = page.get_by_role("region", name="Tools")
    expect(tools).to_contain_text("Search everything that was said")
    offered = tools.locator("option", has_text="web_search:").get_attribute("value")
    tools.get_by_label("Give it a tool").select_option(offered)
    tools.get_by_role("button", name="Give").click()
    tools.get_by_role("button", name="Let web_search ask first").click()
    expect(tools.get_by_text("asks first")).to_be_visible()
    assert {"type": "requires_approval", "tool_name": "web_search"} in http.get(f"/v1/agents/{agent.id}").json()[
        "tool_rules"
    ]
    tools.get_by_role("link", name="Try web_search").click()
    expect(page.get_by_label("As", exact=True)).to_have_value(agent.id)
    page.go_back()
    tools.get_by_role("button", name="Take web_search away").click()
    expect(tools.get_by_role("link", name="Try web_search")).to_have_count(0)


def access_of(http: httpx.Client, agent_id: str) -> str:
    access: str = http.get(f"/v1/agents/{agent_id}").json()["blocks"][0]["access"]
    return access


def fields_of(http: httpx.Client, path: str) -> dict[str, str]:
    """Return what a form of settings holds, as a browser would send it; checkboxes that are off are left out."""
    text = http.get(path).raise_for_status().text
    lines = dict(re.findall(r'<input (?:id="set-\w+" |type="hidden" )name="(\w+)" value="([^"]*)"', text))
    texts = dict(re.findall(r'<textarea [^>]*name="(\w+)"[^>]*>\n([^<]*)</textarea>', text))
    return {**lines, **texts, "mode": "sliding_window"}


def test_the_servers_settings_say_what_it_is_set_to_and_try_a_model(
    open_page: OpenPage, scripted_model: ScriptedModel
) -> None:
    page = open_page("/blocks")
    page.get_by_role("link", name="Server settings").click()
    expect(page.get_by_role("row", name=re.compile("Seconds that a job which is over"))).to_contain_text(
        "604,800 s (7 days)FOLKMOOT_KEEP_JOBS"
    )
    port = urlsplit(page.url).port
    assert port is not None
    expect(page.get_by_role("row", name=re.compile("Port to listen on"))).to_contain_text(f"{port}FOLKMOOT_PORT")
    page.get_by_label("Model", exact=True).fill(MODEL)
    page.get_by_role("button", name="Ask it whether it is there").click()
    expect(page.get_by_role("status").filter(has_text=f"{MODEL} answered after")).to_be_visible()
    page.get_by_label("Model", exact=True).fill("nobody/nothing")
    page.get_by_role("button", name="Ask it whether it is there").click()
    expect(page.locator("#tried")).to_contain_text("the provider 'nobody' is unknown")
    page.get_by_role("button", name="Try openai").click()
    expect(page.locator("#tried")).to_contain_text("openai takes the key and lists")
    with page.expect_download() as taken:
        page.get_by_role("button", name="Download a backup").click()
    assert taken.value.suggested_filename.endswith(".folkmoot")
    assert taken.value.path().stat().st_size > 1000


def test_a_reader_sees_settings_and_no_buttons_and_no_secret(start_server: StartServer) -> None:
    search = "https://ada:found-by@search.invalid/?apikey=looked-up"
    secret = {"FOLKMOOT_API_KEY": "the first key", "FOLKMOOT_CALLBACK_SECRET": "signed-with"}
    server = start_server(env={**secret, "FOLKMOOT_SEARCH_URL": search})
    with plain_client(server.url, headers={"Authorization": "Bearer the first key"}) as admin:
        keys = {role: admin.post("/v1/keys", json={"name": role, "role": role}).json()["key"] for role in ROLES}
        made = {"name": "a", "model": "offline/notetaker", "secrets": {"SUN_KEY": "sun-0123"}}
        agent = admin.post("/v1/agents", json=made).json()["id"]
        block = admin.post("/v1/blocks", json={"label": "b", "value": ""}).json()["id"]
        pages = [f"/agents/{agent}/settings", f"/blocks/{block}/settings", "/settings"]
        shown = {
            role: [admin.get(path, headers={"Authorization": f"Bearer {key}"}).text for path in pages]
            for role, key in keys.items()
        }
        posted = {
            role: admin.post(f"{pages[0]}/secret", data={"secret": "X", "value": "y"}, headers=bearer).status_code
            for role, bearer in ((role, {"Authorization": f"Bearer {key}"}) for role, key in keys.items())
        }
        taken = admin.post("/settings/backup", headers={"Authorization": f"Bearer {keys['member']}"})
    buttons = {
        role: [len(re.findall(r"<main.*</main>", text, re.DOTALL)[0].split("<button")) - 1 for text in texts]
        for role, texts in shown.items()
    }
    assert buttons["reader"] == [0, 0, 0]
    assert all(count > 0 for count in [*buttons["member"], *buttons["admin"]])
    assert ["SUN_KEY" in shown[role][0] for role in ROLES] == [False, True, True]
    assert ["FOLKMOOT_DATABASE" in shown[role][2] for role in ROLES] == [False, False, True]
    assert not [
        found
        for texts in shown.values()
        for text in texts
        for found in re.findall("sun-0123|the first key|signed-with|found-by|looked-up", text)
    ]
    assert "https://ada:…@search.invalid/?apikey=…" in shown["admin"][2]
    assert posted == {"reader": 403, "member": 303, "admin": 303}
    assert taken.status_code == 403
