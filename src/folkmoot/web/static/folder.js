// A folder's page: files that are dropped or chosen are sent at once, and how far each is read is shown as it goes.

import { bound, find, refresher, toSignIn } from "./dom.js";
import { hear } from "./live.js";

const id = find("#folder-page").dataset.folder;
const form = find("#drop");
const field = find("#file");
const sending = find("#sending");
const AT_ONCE = 3;

// -- live --------------------------------------------------------------------------------------------------------

const refresh = refresher(["files", "beside"], { gap: 500 });
hear("folders", ({ ids }) => { if (ids.includes(id)) refresh(); });
hear("back", refresh);
document.addEventListener("folkmoot:changed", (event) => { event.preventDefault(); refresh(); });

// -- sending -----------------------------------------------------------------------------------------------------

const waiting = [];
let busy = 0;

function show(file) {
  const row = document.createElement("li");
  const name = document.createElement("span");
  const bar = document.createElement("progress");
  const words = document.createElement("span");
  name.textContent = file.name;
  bar.max = 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Sending ${file.name}`);
  words.className = "problem";
  row.append(name, " ", bar, " ", words);
  sending.append(row);
  return { row, bar, words };
}

// fetch() does not tell how much of a body was sent.
function send(file, { bar }) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    const body = new FormData();
    body.append("file", file);
    request.upload.addEventListener("progress", (event) => { if (event.lengthComputable) bar.value = event.loaded / event.total; });
    request.addEventListener("load", () => {
      if (request.status === 200) return done();
      if (request.status === 401) toSignIn("POST");
      let detail;
      try { ({ detail } = JSON.parse(request.responseText)); } catch { /* no words of ours */ }
      return fail(new Error(detail ?? `The server answered with status ${request.status}.`));
    });
    request.addEventListener("error", () => fail(new Error("The server cannot be reached, or took no more of the file.")));
    request.open("POST", `/v1/folders/${id}/upload`);
    request.setRequestHeader("Accept", "application/json");
    request.send(body);
  });
}

async function next() {
  const entry = waiting.shift();
  if (!entry) return;
  busy += 1;
  try {
    await send(entry.file, entry.shown);
    entry.shown.row.remove();
    refresh();
  } catch (error) {
    entry.shown.bar.remove();
    entry.shown.words.textContent = error.message;
  }
  busy -= 1;
  next();
}

function take(files) {
  for (const file of files) waiting.push({ file, shown: show(file) });
  while (busy < AT_ONCE && waiting.length) next();
}

// What is on its way, or waits, ends with the page.
addEventListener("beforeunload", (event) => { if (busy) event.preventDefault(); });

/** Send what is chosen in the form, or dropped anywhere on the page. */
function takeWhatComes() {
  field.multiple = true;
  field.addEventListener("change", () => {
    take([...field.files]);
    field.value = "";
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      form.classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (kind === "dragleave" && event.relatedTarget) return;
      form.classList.remove("over");
    });
  }
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    take([...event.dataTransfer.files]);
  });
}

if (form) takeWhatComes();  // who only reads has none
bound("own");
