// The map: rows change as blocks are edited and agents run; who comes and goes is drawn anew by the server.

import { all, colour, find, glow, refresher, setTime } from "./dom.js";
import { hear } from "./live.js";

const refresh = refresher(["moot"], { gap: 500, after: () => showRuns(latest) });
let latest = null;
let lit = null;

/** The row of an agent, a member or a block: its own, or that of the fold which has it. */
function rowOf(id) {
  return document.getElementById(id) ?? find(`[data-folded="${CSS.escape(id)}"]`)?.closest(".row");
}

function showEdit(edit) {
  const row = rowOf(edit.block_id);
  if (!row || Number(row.dataset.version) >= edit.version) return;
  colour(row, edit.colour);
  const words = `${edit.author} ${edit.words}`;
  if (row.matches(".folded")) find(".state", row).textContent = `${edit.label}: ${words}`;
  else {
    row.dataset.version = edit.version;
    colour(find(".last .mark", row), edit.colour);
    find(".last-words", row).textContent = words;
    find(".size", row).textContent = edit.characters.toLocaleString("en");
    find(".version", row).textContent = edit.version;
    setTime(find("time", row), edit.at);
  }
  glow(row);
  const author = edit.author_id && rowOf(edit.author_id);
  if (!author) return;
  if (author.matches(".folded")) {
    colour(author, edit.colour);
    glow(author);
  }
  const line = find(`path[data-from="${author.id}"][data-to="${row.id}"]`);
  if (line) glow(line);
}

function showRuns(news) {
  if (!news) return;
  latest = news;
  const runs = new Map(news.runs.map((run) => [run.agent_id, run]));
  const waiting = new Set(news.waiting);
  for (const row of all("[data-agent]")) {
    const run = runs.get(row.dataset.agent);
    const waits = !run && waiting.has(row.dataset.agent);
    row.classList.toggle("busy", Boolean(run));
    row.classList.toggle("waits", waits);
    const words = run ? (run.status === "running" ? "writing…" : "waits for its turn") : waits ? "waits for you" : "";
    say(row, words);
  }
  const folded = [...runs.keys()].map((agent) => rowOf(agent));
  for (const row of all(".agents .folded")) {
    const busy = folded.filter((each) => each === row).length;
    row.classList.toggle("busy", busy > 0);
    say(row, busy ? `${busy} writing…` : "");
  }
}

function say(row, words) {
  const state = find(".state", row);
  if (state.textContent !== words) state.textContent = words;
}

/** Light up a row, its lines and what they lead to, so that one can follow them; nothing when there is none. */
function light(row) {
  if (row === lit) return;
  lit = row;
  for (const each of all(".moot .lit")) each.classList.remove("lit");
  find(".moot > .lines").classList.toggle("traced", Boolean(row));
  if (!row) return;
  row.classList.add("lit");
  for (const line of all(`path[data-from="${row.id}"], path[data-to="${row.id}"]`)) {
    line.classList.add("lit");
    for (const end of [line.dataset.from, line.dataset.to]) document.getElementById(end)?.classList.add("lit");
  }
}

const rowAt = (element) => element?.closest?.(".moot .row[id]") ?? null;
document.addEventListener("pointerover", (event) => light(rowAt(event.target) ?? rowAt(document.activeElement)));
document.addEventListener("focusin", (event) => light(rowAt(event.target)));
document.addEventListener("focusout", (event) => light(rowAt(event.relatedTarget)));

hear("edits", ({ edits }) => edits.forEach(showEdit));
hear("runs", showRuns);
hear("shape", refresh);
hear("back", refresh);
