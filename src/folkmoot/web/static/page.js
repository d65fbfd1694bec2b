// What every page has: the live dot, times that go on, the theme, forms that call the API, dialogs, keys.

import { all, ago, api, bound, copy, exact, find, notice, refresher } from "./dom.js";
import { hear, listen } from "./live.js";
import { dropDrafts, guardForms } from "./unsaved.js";

// -- live ------------------------------------------------------------------------------------------------------

if (!find("#sign-in")) listen();

hear("runs", ({ runs, inbox }) => {
  const waiting = find("#inbox-count");
  waiting.hidden = inbox === 0;
  waiting.textContent = inbox;
  waiting.title = inbox === 1 ? "1 request waits for you" : `${inbox} requests wait for you`;
  const link = find("#run-count");
  link.hidden = runs.length === 0;
  link.textContent = runs.length === 1 ? "1 run" : `${runs.length} runs`;
});

const list = find("#list[data-live]");
if (list) {
  const refresh = refresher(["list"], { gap: 1000 });
  for (const kind of ["back", ...list.dataset.live.split(" ")]) hear(kind, refresh);
  document.addEventListener("folkmoot:changed", (event) => { event.preventDefault(); refresh(); });
}
if (find(".start")) hear("shape", () => location.reload());

setInterval(() => {
  for (const time of all("time")) {
    const words = ago(new Date(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
}, 1000);
for (const time of all("time")) time.title = exact(new Date(time.dateTime));

// -- theme -----------------------------------------------------------------------------------------------------

find("#theme").addEventListener("click", () => {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* it holds for this page then */ }
});

// -- forms that call the API -------------------------------------------------------------------------------------

function bodyOf(form, path) {
  if (form.dataset.body) return [path, JSON.parse(form.dataset.body)];
  const body = {};
  for (const field of all("[name]", form)) {
    if ("inPath" in field.dataset) path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    else if (field.dataset.kind === "words") body[field.name] = field.value.split(",").map((word) => word.trim()).filter(Boolean);
    else body[field.name] = field.value;
  }
  return [path, Object.keys(body).length ? body : undefined];
}

async function submit(form) {
  if (form.hasAttribute("aria-busy")) return undefined;  // pressed twice
  const [method, template] = form.dataset.api.split(" ");
  const [path, body] = bodyOf(form, template);
  const problem = find(".problem", form);
  if (problem) problem.hidden = true;
  form.setAttribute("aria-busy", "true");
  try {
    await api(method, path, body);
  } catch (error) {
    form.removeAttribute("aria-busy");
    if (!problem) return notice(error.message);
    problem.textContent = error.message;
    problem.hidden = false;
    return undefined;
  }
  delete form.dataset.unsent;
  form.closest("dialog")?.close();
  if (form.dataset.then === "reload") location.reload();
  else if (form.dataset.then === "refresh") {
    form.removeAttribute("aria-busy");
    // What is being used is not rendered anew; what was sent may be, and swap() finds the place again.
    const used = document.activeElement;
    if (form.contains(used) && !used.matches("button")) find("button:not([hidden])", form)?.focus({ preventScroll: true });
    // Where nobody renders the page anew, perhaps because its own script is not there yet, it is loaded anew.
    if (document.dispatchEvent(new CustomEvent("folkmoot:changed", { cancelable: true }))) location.reload();
  } else location.assign(form.dataset.then);
  return undefined;
}

// A list that is filtered as one types stays what it was where its answer does not come, which is said.
for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => {
    const status = detail.xhr?.status;
    notice(status ? `The server answered with status ${status}. This is what was shown before.`
      : "The server cannot be reached. This is what was shown before.");
  });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.submitter?.formMethod === "dialog" || form.method !== "post") return;
  if (form.matches("[data-asks]") && !asked.has(form)) {
    event.preventDefault();
    ask(form, event.submitter);
  } else if (form.matches("[data-api]")) {
    event.preventDefault();
    submit(form);
  } else if (!event.defaultPrevented && mayBeSent(event)) sendOnce(event);
});

const asked = new WeakSet();

/** Ask before something is done that nobody can take back. */
function ask(form, button) {
  const dialog = find("#asks");
  find("h2", dialog).textContent = form.dataset.asks;
  find("p", dialog).textContent = form.dataset.loses;
  find("[value=yes]", dialog).textContent = button.title || button.textContent;
  dialog.returnValue = "";
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "yes") return;
    asked.add(form);
    // A list that was rendered anew meanwhile has the form no more, and the browser sends none that is on no page.
    if (form.isConnected) form.requestSubmit(button);
    else submit(form);
  }, { once: true });
  dialog.showModal();
}

/** Tell whether the server takes what a form holds; what is too large is told here, where it can be made less. */
function mayBeSent(event) {
  const most = Number(document.documentElement.dataset.mostBytes);
  const bytes = bytesOf(event.target);
  if (bytes <= most) return true;
  event.preventDefault();
  notice(`This has ${bytes.toLocaleString("en")} bytes, and the server takes ${most.toLocaleString("en")}. Nothing was sent.`);
  return false;
}

const HEAD = 300;  // bytes at the most around each part of a form with files

function bytesOf(form) {
  const given = new FormData(form);
  if (form.enctype !== "multipart/form-data") return new URLSearchParams(given).toString().length;
  return [...given.values()].reduce((sum, value) => sum + HEAD + (value.size ?? new Blob([value]).size), 0);
}

const SENDING = 30000;
let sent = new WeakMap();

/**
 * What a form sends may take long, and pressed again it would be done twice. That its answer came, or nobody waits for
 * it any more, is told only where it is another page; so it can be sent again after a while.
 */
function sendOnce(event) {
  if (performance.now() - (sent.get(event.target) ?? -SENDING) < SENDING) {
    event.preventDefault();
    notice("This was sent. Its answer is on its way.");
  } else sent.set(event.target, performance.now());
}
addEventListener("pageshow", () => { sent = new WeakMap(); });
// What somebody has begun to say is not rendered away.
document.addEventListener("input", (event) => event.target.closest(".request")?.setAttribute("data-unsent", ""));
// A choice does nothing by itself: with it comes the button that does.
document.addEventListener("change", (event) => {
  event.target.closest("form:has([data-from-change])")?.setAttribute("data-unsent", "");
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-checks]");
  if (!button) return;
  event.preventDefault();
  const told = find(`#${button.dataset.checks}-checked`);
  const handle = button.form.elements[button.dataset.checks].value.trim();
  button.disabled = true;
  told.className = "hint";
  told.textContent = `Asking ${handle}…`;
  try {
    const { answer, duration_ms } = await (await api("POST", "/v1/models/check", { handle })).json();
    told.textContent = `It answered after ${duration_ms.toLocaleString("en")} ms${answer ? `: “${answer.slice(0, 100)}”` : ", with no words"}`;
  } catch (error) {
    told.className = "problem";
    told.textContent = error.message;
  }
  button.disabled = false;
  button.focus({ preventScroll: true });
});

// -- copies and drafts -------------------------------------------------------------------------------------------

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = button.dataset.copy === "code" ? find("code", button.parentElement) : find(".text", button.closest(".saying"));
  button.textContent = (await copy(from.dataset.source ?? from.textContent)) ? "Copied" : "Not copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
// What somebody has begun to say is not for the next one at this browser.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[action='/logout']")) dropDrafts();
});

// -- dialogs and keys --------------------------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const dialog = document.getElementById(event.target.closest("[data-opens]")?.dataset.opens);
  if (!dialog) return;
  event.preventDefault();
  if (!dialog.open) dialog.showModal();
});

// What a fold opens over the page closes as a menu does.
document.addEventListener("click", (event) => {
  for (const menu of all(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest(".menu[open]");
  if (!menu) return;
  menu.open = false;
  find("summary", menu).focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const target = all("[data-key]").find((each) => each.dataset.key === event.key && each.offsetParent);
  if (!target) return;
  event.preventDefault();
  if (target.matches("button")) target.click();
  else target.focus();
});

// On a narrow screen the row of pages scrolls: to the one that is open.
const pages = find(".top nav");
const current = pages && find("[aria-current]", pages);
if (current) pages.scrollLeft = current.offsetLeft + current.offsetWidth / 2 - pages.offsetLeft - pages.clientWidth / 2;

// -- from here on ------------------------------------------------------------------------------------------------

// What was asked for in the address, before scripts were there, is open; the address is the page's again.
const address = new URL(location.href);
for (const name of ["ask", "saved"]) address.searchParams.delete(name);
address.searchParams.delete("edit", "yes");  // of a block; a message that is edited has a page of its own
// A page that shows what a form has made is not made again by loading it anew.
if (address.href !== location.href || find("[data-once]")) history.replaceState(null, "", address);
guardForms();
bound("page");
document.addEventListener("DOMContentLoaded", () => { if (window.htmx) bound("htmx"); });
