// An agent's page: the chat, its blocks beside it as they change, and the rest rendered anew after each turn.

import { Chat } from "./chat.js";
import { all, api, bound, colour, find, notice, pause, reached, refresher } from "./dom.js";
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
let unsent = "";  // the words of a turn that the server may not have
let giveUp = null;  // what ends the waiting for a server that may not have them

const refreshBeside = refresher(["agent-head", "memory", "archives", "folders", "context", "tools", "runs", "schedules"]);
const refreshFolders = refresher(["folders", "context"], { gap: 2000 });
const refreshChat = refresher(["agent-head", "messages"], {
  before: () => chat.isAtEnd(),
  after: (wasAtEnd) => { if (wasAtEnd) chat.toEnd(); },
});
const refreshMessages = refresher(["messages", "context", "runs"], { after: () => chat.toEnd() });

// -- turns -------------------------------------------------------------------------------------------------------

function busy(yes, words = "") {
  if (!composer) return;
  if (yes && document.activeElement === find("#send")) area.focus();  // a button that cannot be used loses the focus
  find("#send").disabled = yes;
  find("#stop").hidden = !yes;
  find("#stop").disabled = false;
  find("#chat-state").textContent = words;
  find("#log").setAttribute("aria-busy", String(yes));
}

function over(words = "") {
  [run, sending] = [null, null];
  busy(false, words);
  refreshBeside();
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

/** Take a turn: send, show what comes, and render the rest anew. Returns why it did not begin, or null. */
async function turn(message) {
  const otid = newName();
  let [response, ended] = [null, ""];
  busy(true, "thinking…");
  problem("");
  try {
    sending = begin({ ...message, otid });
    response = await sending;
    ended = await showTurn(response, otid);
    return null;
  } catch (error) {
    const isLost = response && !run;  // somebody between has answered, and the server knows nothing of it
    problem(isLost ? "This did not reach the server. Send it again." : error.message);
    return run ? null : error;
  } finally { over(ended); }
}

/** A name for a message, by which one can ask whether the server has it. */
const newName = () => [...crypto.getRandomValues(new Uint32Array(4))].map((part) => part.toString(36)).join("-");

/** Send a message; where it is not known whether the server has it, ask. Returns the answer, which has begun then. */
async function begin(message) {
  try {
    return await api("POST", `/v1/conversations/${conversation}/messages`, { messages: [message], stream_tokens: true });
  } catch (error) {
    if (error.status < 500) throw error;
    return reached(() => behind(0, message.otid), inDoubt).catch(() => { throw error; });
  }
}

/** Ask for what comes behind an event of the turn that is followed, or of the one that answers a message. */
function behind(seen, otid) {
  const which = run ? { run_id: run } : { otid };
  return api("POST", `/v1/conversations/${conversation}/stream`, { ...which, starting_after: seen });
}

/** Wait for a server that may not have a message, unless somebody gives it up. */
function inDoubt(error) {
  busy(true, "The server cannot be reached. It is asked again whether it has this.");
  return new Promise((done, fail) => {
    giveUp = () => fail(error);
    pause().then(done);
  }).finally(() => { giveUp = null; });
}

function lost() {
  busy(true, "The server cannot be reached. What comes is shown when it is back.");
  return pause();
}

/** Show a turn as it happens; one that came to nothing is then shown as what it is. Returns how it ended, in words. */
async function showTurn(response, otid) {
  const rest = async (seen) => {
    const more = await reached(() => behind(seen, otid), lost);
    busy(true, "working…");
    return more;
  };
  const reason = await chat.follow(response, rest, began);
  if (IN_VAIN.has(reason)) refreshMessages();
  return reason === "cancelled" ? "stopped" : "";
}

/** The server has the turn, and with it what was said. */
function began(id) {
  if (run === id) return;
  followed.add(id);
  run = id;
  unsent = "";
  keepDraft();
}

/** Follow a turn that was begun elsewhere, or before the page was loaded anew. */
async function followOther(id, words = "working for somebody else…") {
  if (followed.has(id) || run) return;
  followed.add(id);
  run = id;
  let ended = "";
  busy(true, words);
  try {
    ended = await showTurn(await reached(() => behind(0), lost));
  } catch { /* it is there no more; what was said is rendered below */ }
  over(ended);
  refreshMessages();
}

/** Keep what is written and not sent, until it is or somebody signs out. */
function keepDraft() {
  if (!area || edits) return;
  const words = joined(unsent, area.value);
  if (words) drafts.set(draft, words);
  else drafts.drop(draft);
}

/** What was not sent, with what was written since behind it. */
function joined(...texts) { return texts.filter(Boolean).join("\n\n"); }

if (area && !edits) {
  area.value ||= drafts.get(draft) ?? "";
  keepDraft();  // somebody may have written before this script was here
}

composer?.addEventListener("submit", async (event) => {
  if (edits) return;  // the server answers with the fork
  event.preventDefault();
  await pictures.read;
  const words = area.value.trim();
  if (!(words || pictures.waiting.length) || find("#send").disabled) return;
  const taken = pictures.takeAll();
  area.value = "";
  unsent = words;
  const said = chat.say(words, taken);
  const parts = [...taken.map((each) => each.part), ...(words ? [{ type: "text", text: words }] : [])];
  if (await turn({ role: "user", content: taken.length ? parts : words })) {
    said.remove();
    pictures.put([...taken, ...pictures.waiting]);
    area.value = joined(words, area.value);
    unsent = "";
    keepDraft();
  }
});
area?.addEventListener("input", keepDraft);
area?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  composer.requestSubmit();
});
find("#stop")?.addEventListener("click", async (event) => {
  event.preventDefault();
  if (giveUp) {
    giveUp();
    return;
  }
  area.focus();
  find("#stop").disabled = true;
  find("#chat-state").textContent = "stopping…";
  try {
    const has = sending ? await sending.then(() => true, () => false) : true;
    if (has) await api("POST", `/v1/conversations/${conversation}/cancel`);
  } catch (error) {
    problem(error.message);
    find("#chat-state").textContent = "";
    find("#stop").disabled = false;
    find("#stop").focus();
  }
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
hear("shape", refreshBeside);
document.addEventListener("folkmoot:changed", (event) => { event.preventDefault(); refreshBeside(); });
if (page.dataset.run) followOther(page.dataset.run, "working…");

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
  ask(card, false, approve ? "approved" : "denied");
  const open = all(".tool.waits");
  find("summary", open[0] ?? card).focus({ preventScroll: true });
  if (open.length) find("#chat-state").textContent = `${open.length} more to decide`;
  else answer();
});

/** Let a call wait for a decision, or no longer. */
function ask(card, waits, words) {
  card.classList.toggle("waits", waits);
  find(".decide", card).hidden = !waits;
  find(".tool-state", card).textContent = words;
}

/** Send what was decided; what the server has not taken can be decided again. */
async function answer() {
  const approvals = [...decided.values()];
  decided.clear();
  const refusal = await turn({ type: "approval", approvals });
  if (!refusal) return;
  const cards = all("[data-call]").filter((card) => approvals.some((each) => each.tool_call_id === card.dataset.call));
  for (const card of cards) ask(card, true, "waits for you");
  if (refusal.status < 500) refreshMessages();
}

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
