// The map: rows change as blocks are edited and agents run; who comes and goes is drawn anew by the server.

import { all, colour, find, glow, refresher, setTime } from "./dom.js";
import { hear } from "./live.js";

const refresh = refresher(["moot"], { gap: 500, after: () => showRuns(latest) });
let latest = null;

function showEdit(edit) {
  const row = document.getElementById(edit.block_id);
  if (!row || Number(row.dataset.version) >= edit.version) return;
  row.dataset.version = edit.version;
  colour(row, edit.colour);
  colour(find(".last .mark", row), edit.colour);
  find(".last-words", row).textContent = `${edit.author} ${edit.words}`;
  find(".size", row).textContent = edit.characters.toLocaleString("en");
  find(".version", row).textContent = edit.version;
  setTime(find("time", row), edit.at);
  glow(row);
  if (!edit.author_id) return;
  const line = find(`path[data-from="${edit.author_id}"][data-to="${edit.block_id}"]`);
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
    const state = find(".state", row);
    if (state.textContent !== words) state.textContent = words;
  }
}

hear("edits", ({ edits }) => edits.forEach(showEdit));
hear("runs", showRuns);
hear("shape", refresh);
hear("back", refresh);
