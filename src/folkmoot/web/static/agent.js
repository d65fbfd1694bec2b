// An agent's page: the chat, its blocks beside it as they change, and the rest rendered anew after each turn.

import { Chat } from "./chat.js";
import { all, api, bound, colour, find, notice, refresher } from "./dom.js";
import { Stream, hear } from "./live.js";
import { Pictures } from "./pictures.js";
import { drafts } from "./unsaved.js";

const page = find("#agent-page");
const { agent, conversation } = page.dataset;
const colours = JSON.parse(page.dataset.colours);
const chat = new Chat();
const composer = find("#composer");
const area = find("#message");
const edits = composer?.dataset.edits;
const pictures = composer && !edits && new Pictures({
  chat: find(".chat"),
  area,
  chooser: find("#add-pictures"),
  largest: Number(composer.dataset.largest),
  refuse: problem,
});
find(".conversations [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
const draft = `draft ${conversation}`;
const followed = new Set();
const IN_VAIN = new Set([null, "error", "llm_api_error", "cancelled"]);
let run = null;
let sending = null;  // the request of a turn, whose answer begins once the server has the turn

const refreshBeside = refresher(["memory", "archives", "folders", "context", "tools", "runs", "schedules"]);
const refreshFolders = refresher(["folders", "context"], { gap: 2000 });
const refreshChat = refresher(["agent-head", "messages"], {
  before: () => chat.isAtEnd(),
  after: (wasAtEnd) => { if (wasAtEnd) chat.toEnd(); },
});
const refreshMessages = refresher(["messages", "context", "runs"], { after: () => chat.toEnd() });

// -- turns -------------------------------------------------------------------------------------------------------

function busy(yes, words = "") {
  if (!composer) return;
  find("#send").disabled = yes;
  find("#stop").hidden = !yes;
  find("#stop").disabled = false;
  find("#chat-state").textContent = words;
  find("#log").setAttribute("aria-busy", String(yes));
}

function problem(words) {
  const box = find("#send-problem");
  if (!box) {
    if (words) notice(words);
    return;
  }
  box.textContent = words;
  box.hidden = !words;
}

/** Take a turn: send, show what comes, and render the rest anew. Returns whether it began. */
async function turn(messages) {
  let ended = "";
  busy(true, "thinking…");
  problem("");
  try {
    const body = { messages, stream_tokens: true };
    sending = api("POST", `/v1/conversations/${conversation}/messages`, body);
    ended = await showTurn(await sending);
    return true;
  } catch (error) {
    problem(error.message);
    return false;
  } finally {
    run = null;
    busy(false, ended);
    refreshBeside();
  }
}

/** Show a turn as it happens; one that came to nothing is then shown as what it is. Returns how it ended, in words. */
async function showTurn(response) {
  const reason = await chat.follow(response, (id) => { followed.add(id); run = id; });
  if (IN_VAIN.has(reason)) refreshMessages();
  return reason === "cancelled" ? "stopped" : "";
}

/** Follow a turn that somebody else began. */
async function followOther(id) {
  if (followed.has(id) || run) return;
  followed.add(id);
  run = id;
  let ended = "";
  busy(true, "working for somebody else…");
  try {
    ended = await showTurn(await api("GET", `/v1/runs/${id}/stream`));
  } catch { /* it is over; what was said is rendered below */ }
  run = null;
  busy(false, ended);
  refreshMessages();
  refreshBeside();
}

/** Keep what is written and not sent, until it is or somebody signs out. */
function keepDraft() {
  if (area.value) drafts.set(draft, area.value);
  else drafts.drop(draft);
}

if (area && !edits && !area.value) area.value = drafts.get(draft) ?? "";

composer?.addEventListener("submit", async (event) => {
  if (edits) {
    find("#send").disabled = true;  // once; the server answers with the fork
    return;
  }
  event.preventDefault();
  const words = area.value.trim();
  if (!(words || pictures.waiting.length) || find("#send").disabled) return;
  const taken = pictures.takeAll();
  area.value = "";
  keepDraft();
  const said = chat.say(words, taken);
  const parts = [...taken.map((each) => each.part), ...(words ? [{ type: "text", text: words }] : [])];
  if (!(await turn([{ role: "user", content: taken.length ? parts : words }]))) {
    said.remove();
    pictures.put(taken);
    area.value = words;
    keepDraft();
  }
  area.focus();
});
if (!edits) area?.addEventListener("input", keepDraft);
area?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
find("#stop")?.addEventListener("click", async (event) => {
  event.preventDefault();
  find("#stop").disabled = true;
  try {
    await sending?.catch(() => { /* it has not begun, which who sent it says */ });
    await api("POST", `/v1/conversations/${conversation}/cancel`);
  } catch (error) { problem(error.message); }
});

hear("runs", ({ runs }) => {
  const busyIn = new Set(runs.map((each) => each.conversation_id));
  for (const tab of all("[data-conversation]", find(".conversations"))) {
    tab.classList.toggle("busy", busyIn.has(tab.dataset.conversation));
  }
  const other = runs.find((each) => each.conversation_id === conversation && each.status === "running");
  if (other && !find("#send")?.disabled) followOther(other.id);
});
hear("back", () => {
  refreshBeside();
  if (!run) refreshChat();
});
document.addEventListener("folkmoot:changed", (event) => { event.preventDefault(); refreshBeside(); });
if (page.dataset.run) followOther(page.dataset.run);

// -- approvals ---------------------------------------------------------------------------------------------------

const decided = new Map();

document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.matches(".decide .reason")) return;
  event.preventDefault();
  find("[data-decide=deny]", event.target.closest(".decide")).click();
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-decide]");
  if (!button) return;
  event.preventDefault();
  const card = button.closest("[data-call]");
  const approve = button.dataset.decide === "approve";
  const reason = find(".reason", card).value.trim();
  decided.set(card.dataset.call, { type: "approval", tool_call_id: card.dataset.call, approve, ...(reason && { reason }) });
  card.classList.remove("waits");
  find(".decide", card).hidden = true;
  find(".tool-state", card).textContent = approve ? "approved" : "denied";
  const open = all(".tool.waits").length;
  if (open) {
    find("#chat-state").textContent = `${open} more to decide`;
    return;
  }
  const approvals = [...decided.values()];
  decided.clear();
  turn([{ type: "approval", approvals }]).then((began) => { if (!began) refreshMessages(); });
});

// -- folders -----------------------------------------------------------------------------------------------------

hear("folders", ({ ids }) => {
  if (ids.some((id) => find(`#folders a[href="/folders/${id}"]`))) refreshFolders();
});

// -- memory ------------------------------------------------------------------------------------------------------

/** A text after splices, which count characters as Python does, not halves of some of them. */
function changed(text, splices) {
  const characters = [...text];
  for (const [start, end, replacement] of [...splices].reverse()) characters.splice(start, end - start, replacement);
  return characters.join("");
}

function showVersion({ block_id, version, change, author }) {
  const block = find(`.memory-block[data-block="${block_id}"]`);
  const shown = Number(block?.dataset.version);
  if (!block || shown >= version) return;
  if (shown !== version - 1) {
    refreshBeside();  // a change is one of the version before
    return;
  }
  const value = changed(find(".memory-text", block).textContent, change);
  block.dataset.version = version;
  find(".version", block).textContent = version;
  const known = new Map();
  for (const line of all(".memory-line", block)) known.set(line.textContent, (known.get(line.textContent) ?? 0) + 1);
  const lines = value.split("\n").map((words) => {
    const line = document.createElement("span");
    line.className = "memory-line";
    line.textContent = words;
    const left = known.get(words) ?? 0;
    if (left) known.set(words, left - 1);
    else if (words) {
      colour(line, colours[author.id] ?? "c0");
      line.classList.add("glow");
    }
    return line;
  });
  const text = find(".memory-text", block);
  text.replaceChildren(...lines.flatMap((line, place) => (place ? ["\n", line] : [line])));
  const fresh = lines.find((line) => line.classList.contains("glow"));
  if (fresh) text.scrollTop = fresh.offsetTop - text.offsetTop - text.clientHeight / 2;
}

new Stream(`/v1/agents/${agent}/core-memory/watch?changes=true`, {
  snapshot: ({ blocks }) => {
    const isolated = all(".memory-block[data-isolated]").map((block) => block.dataset.isolated);
    const shown = all(".memory-block:not([data-isolated])").map((block) => `${block.dataset.block} ${block.dataset.version}`);
    const now = blocks.filter((block) => !isolated.includes(block.label)).map((block) => `${block.id} ${block.version}`);
    if (shown.join() !== now.join()) refreshBeside();
  },
  version: (event) => { showVersion(event); },
});
// What is the conversation's own is none of the agent's blocks, which that stream tells of.
hear("edits", ({ edits }) => {
  const isolated = all(".memory-block[data-isolated]");
  if (isolated.some((block) => edits.some((edit) => edit.block_id === block.dataset.block))) refreshBeside();
});
bound("own");
