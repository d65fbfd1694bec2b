// A block's page: live while agents write, a slider through its versions, and an editor that overwrites nothing.

import { all, api, bound, find, glow, load, notice, refresher, swap } from "./dom.js";
import { Stream, hear } from "./live.js";
import { drafts } from "./unsaved.js";

const id = find("#block-page").dataset.block;
const PARTS = ["block-head", "text", "beside", "dialogs"];
const text = () => find("#text");
const isNow = () => text().dataset.now === "yes";

// -- live --------------------------------------------------------------------------------------------------------

const refresh = refresher(PARTS, {
  before: () => Number(text().dataset.version),
  after(seen) {
    if (!isNow()) return;
    for (const line of all(".line-of-text", text())) if (Number(line.dataset.version) > seen) glow(line);
    if (!all(".why", text()).some((line) => line === document.activeElement)) roving(find(".why", text()));
    tellEditor();
  },
});

new Stream(`/v1/blocks/${id}/watch?changes=true`, {
  snapshot: (block) => { if (block.version !== Number(text().dataset.newest)) refresh(); },
  version: refresh,
  deleted: refresh,
});
for (const kind of ["shape", "back"]) hear(kind, refresh);
document.addEventListener("folkmoot:changed", (event) => { event.preventDefault(); refresh(); });

// -- versions ----------------------------------------------------------------------------------------------------

let asked = 0;

async function go(address, options) {
  const mine = ++asked;
  try {
    const { status, page } = await load(address);
    if (mine !== asked) return;
    if (status !== 200) throw new Error("This version is not there any more.");
    show(page, address, options);
  } catch (error) {
    if (mine !== asked) return;
    notice(error.message);
    showNumber(text().dataset.version);
    find("#version").value = text().dataset.version;
  }
}

function show(page, address, { parts = PARTS, push = true } = {}) {
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  swap(page, parts);
  roving(find(".why", text()));
}

const addressOf = (version) => `/blocks/${id}?version=${version}`;

function showNumber(version) { find("output[for=version]").textContent = `v${version}`; }

document.addEventListener("input", (event) => {
  if (event.target.id !== "version") return;
  showNumber(event.target.value);
  go(addressOf(event.target.value), { parts: ["text", "beside"], push: false });
});
document.addEventListener("change", (event) => {
  if (event.target.id === "version") go(addressOf(event.target.value), { push: false });
});
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-swaps]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  go(link.href);
});
addEventListener("popstate", () => go(location.href, { push: false }));

// -- why a line says what it says --------------------------------------------------------------------------------

const dialog = find("#why-dialog");

async function showWhy(link) {
  try {
    const { status, page } = await load(link.href);
    if (status !== 200) throw new Error("This line is not there any more.");
    find("#why-here").replaceChildren(page.getElementById("why"));
    if (!dialog.open) dialog.showModal();
  } catch (error) { notice(error.message); }
}

/** One line takes the focus; the arrows go on from there. */
function roving(line) {
  for (const each of all(".why", text())) each.tabIndex = each === line ? 0 : -1;
}

function follow(event) {
  if (event.ctrlKey || event.metaKey || event.shiftKey || !getSelection().isCollapsed) return;
  const link = find(".why", event.target.closest(".line-of-text") ?? document.createElement("i"));
  if (!link || !text().contains(link)) return;
  event.preventDefault();
  roving(link);
  showWhy(link);
}

document.addEventListener("click", follow);
document.addEventListener("focusin", (event) => { if (event.target.matches("#text .why")) roving(event.target); });
document.addEventListener("keydown", (event) => {
  const lines = event.target.matches("#text .why") ? all(".why", text()) : [];
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!lines.length || !step) return;
  event.preventDefault();
  lines[lines.indexOf(event.target) + step]?.focus();
});
roving(find(".why", text()));

// -- editing -----------------------------------------------------------------------------------------------------

const editor = find("#editor");
const area = find("#edited");
const begun = find("#edited-version");
const draft = `draft block ${id}`;

const read = async () => (await api("GET", `/v1/blocks/${id}`)).json();

async function openEditor() {
  const raw = find("#raw"); // a long text is not in the page
  let now = raw && { value: raw.value, version: text().dataset.version };
  try { now ??= await read(); } catch (error) { return notice(error.message); }
  if (!editor.hidden) return undefined;  // opened while the text was on its way
  const kept = drafts.get(draft);
  area.value = kept?.text ?? now.value;
  begun.value = kept?.version ?? now.version;
  showEditor(true);
  find("#kept").hidden = !kept;
  count();
  area.focus();
  return undefined;
}

function showEditor(open) {
  editor.hidden = !open;
  text().hidden = open;
  find("#conflict").hidden = true;
  find("#moved").hidden = true;
  find("#edit-buttons").hidden = false;
  find("#edit-problem").hidden = true;
  if (!open) find("#edit")?.focus();
}

function count() {
  const [used, limit] = [[...area.value].length, Number(text().dataset.limit)];
  const counter = find("#counter");
  counter.textContent = `${used.toLocaleString("en")} of ${limit.toLocaleString("en")} characters`;
  counter.classList.toggle("over", used > limit);
}

/** Say in an open editor that somebody has written meanwhile. */
function tellEditor() {
  if (editor.hidden) return;
  text().hidden = true;
  const [mine, now] = [Number(begun.value), Number(text().dataset.version)];
  const moved = find("#moved");
  moved.hidden = now === mine;
  moved.textContent = `Somebody has written version ${now} since you began with version ${mine}. Saving will ask you.`;
}

/** Save, once; meanwhile nothing is written, since it would not be saved. */
async function save() {
  if (area.readOnly) return;
  area.readOnly = true;
  editor.setAttribute("aria-busy", "true");
  find("#edit-problem").hidden = true;
  try {
    if (await isSaved()) close();
  } catch (error) {
    find("#edit-problem").textContent = error.message;
    find("#edit-problem").hidden = false;
  } finally {
    area.readOnly = false;
    editor.removeAttribute("aria-busy");
  }
}

/** Write the text over the version that it was begun with; return whether it stands there now. */
async function isSaved() {
  try {
    await api("PATCH", `/v1/blocks/${id}`, { value: area.value }, { "If-Match": `"${begun.value}"` });
    return true;
  } catch (error) {
    if (error.status !== 412) throw error;
  }
  const block = await read();
  // It was saved before, and the answer did not come.
  if (block.value === area.value) return true;
  conflict(block);
  return false;
}

function forget() {
  drafts.drop(draft);
  delete editor.dataset.unsaved;
}

function conflict(block) {
  const { type, name } = block.updated_by;
  const writer = type === "api" ? `API (${name})` : name ?? "Somebody";
  find("#conflict-title").textContent = `${writer} has written version ${block.version} since you began`;
  find("#theirs").textContent = block.value;
  begun.value = block.version;
  find("#conflict").hidden = false;
  find("#edit-buttons").hidden = true;
  find("#moved").hidden = true;
  find("#write-mine").focus();
}

function close() {
  forget();
  showEditor(false);
  refresh();
}

function leave(event) {
  event.preventDefault();
  if (!area.readOnly) close();
}

document.addEventListener("click", (event) => {
  if (!event.target.closest("#edit")) return;
  event.preventDefault();
  if (editor.hidden) openEditor();
  else area.focus();
});
editor.addEventListener("submit", (event) => {
  event.preventDefault();
  find("#conflict").hidden = true;
  find("#edit-buttons").hidden = false;
  save();
});
find("#take-theirs").addEventListener("click", leave);
find("#leave-edit").addEventListener("click", leave);
editor.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !area.readOnly) showEditor(false);
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && find("#conflict").hidden) editor.requestSubmit();
});
area.addEventListener("input", () => {
  count();
  editor.dataset.unsaved = "";
  drafts.set(draft, { text: area.value, version: begun.value });
});

// -- what was done before this script was there -------------------------------------------------------------------

if (!editor.hidden) count();
else if (find("#version").value !== text().dataset.version) go(addressOf(find("#version").value), { push: false });
bound("own");
