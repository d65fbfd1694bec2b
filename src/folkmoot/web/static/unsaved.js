// What somebody has written and not saved: kept in this browser for the key it was written with, and not left behind
// without a word.

import { all, find } from "./dom.js";

const KEPT = "draft form ";
const WHOSE = "drafts of";
const SECRET = "[type=password]";
let leaving = false;

/** What is kept under a name in this browser, if it keeps anything. */
export const drafts = {
  get(name) {
    try { return JSON.parse(localStorage.getItem(name)); } catch { return null; }
  },
  set(name, value) {
    try { localStorage.setItem(name, JSON.stringify(value)); } catch { /* it lasts as long as this page then */ }
  },
  drop(name) {
    try { localStorage.removeItem(name); } catch { /* nothing was kept */ }
  },
};

/** Forget all that was written in this browser and not saved. */
export function dropDrafts() {
  try {
    for (const key of Object.keys(localStorage)) if (key.startsWith("draft ")) localStorage.removeItem(key);
  } catch { /* nothing was kept in this browser */ }
}

// A session that ended by itself has dropped nothing: whoever signs in next may be somebody else.
const { whose } = document.documentElement.dataset;
if (whose && drafts.get(WHOSE) !== whose) {
  dropDrafts();
  drafts.set(WHOSE, whose);
}

const fields = (form) => all("[name]:not([type=submit], button)", form).filter((field) => !field.matches(SECRET));
const read = (field) => (field.type === "checkbox" ? field.checked : field.value);
const name = (form) => [KEPT + new URL(form.action).pathname, form.dataset.guard].filter(Boolean).join(" ");
const values = (form, value = read) => (
  fields(form).map((field) => [field.name, field.type === "checkbox" ? field.value : "", value(field)])
);
const seen = (form) => fields(form).filter((field) => field.type !== "hidden").map((field) => field.name);

/** What the server sent in a field, which somebody may have changed before this script was here. */
function original(field) {
  if (field.type === "checkbox") return field.defaultChecked;
  if (!field.options) return field.defaultValue;
  const options = [...field.options];
  return (options.findLast((each) => each.defaultSelected) ?? options[0])?.value ?? "";
}

function fill(form, kept) {
  for (const [field, choice, value] of kept) {
    const same = fields(form).find((each) => each.name === field && (each.type !== "checkbox" || each.value === choice));
    if (same?.type === "checkbox") same.checked = value;
    else if (same) same.value = value;
  }
}

function forget(form) {
  delete form.dataset.unsaved;
  drafts.drop(name(form));
}

/** Say that what the form holds was written here before, with a button that drops it. */
function tell(form, as) {
  const words = document.createElement("p");
  words.className = "moved";
  words.setAttribute("role", "status");
  words.textContent = "This is what you had not saved. ";
  const drop = document.createElement("button");
  drop.type = "button";
  drop.className = "plain";
  drop.textContent = "Drop it";
  drop.addEventListener("click", () => {
    fill(form, as);
    forget(form);
    words.remove();
    fields(form).find((field) => field.type !== "hidden")?.focus();
  });
  words.append(drop);
  form.prepend(words);
  form.closest("details")?.setAttribute("open", "");
}

/** Tell whether what is kept of a form differs from what the server sent, in what a person sees. */
function differs(form, kept, served) {
  const visible = seen(form);
  const shown = (each) => JSON.stringify(each.filter(([field]) => visible.includes(field)));
  return shown(kept) !== shown(served);
}

/** Keep a form's values as not saved. */
function keep(form) {
  form.dataset.unsaved = "";
  drafts.set(name(form), { values: values(form) });
}

function guard(form) {
  const served = values(form, original);
  const early = values(form).filter(([, , value], place) => value !== served[place][2]);
  const kept = drafts.get(name(form));
  const isAnswer = "unsaved" in form.dataset || "saved" in form.dataset;
  if (kept && !isAnswer && differs(form, kept.values, served)) {
    fill(form, kept.values);
    fill(form, early);
    keep(form);
    tell(form, served);
  } else if (early.length) keep(form);
  else drafts.drop(name(form));
}

// A part of the page may be rendered anew, with a form in it.
document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-guard]");
  if (!form || event.target.matches(SECRET)) return;
  keep(form);
});
document.addEventListener("click", (event) => {
  const form = event.target.closest("[data-drops]")?.closest("form");
  if (form) forget(form);
});

/** Tell whether this page is what a form leads to that the server has taken: it sends the browser on. */
function isAfterForm() {
  return performance.getEntriesByType("navigation")[0]?.redirectCount > 0 && !find("#sign-in");
}

/** Forget what a form has sent and the server has taken; what it has not taken was not saved. */
function settleSent() {
  try {
    for (const key of Object.keys(localStorage)) {
      const kept = key.startsWith(KEPT) && drafts.get(key);
      if (!kept?.sent) continue;
      if (isAfterForm()) drafts.drop(key);
      else drafts.set(key, { values: kept.values });
    }
  } catch { /* nothing is kept in this browser */ }
}

/** Note that a form is sent, which what listened before may have prevented. */
function noteSent(event) {
  const form = event.target;
  if (!form.matches("[data-guard]") || event.defaultPrevented) return;
  leaving = true;
  // Kept until its answer is there: a session may be over, or the server not to be reached.
  if ("unsaved" in form.dataset) drafts.set(name(form), { values: values(form), sent: true });
}

/** Guard the forms of this page. */
export function guardForms() {
  settleSent();
  all("form[data-guard]").forEach(guard);
  document.addEventListener("submit", noteSent);
  addEventListener("beforeunload", (event) => {
    if (!leaving && find("form[data-unsaved]")) event.preventDefault();
  });
  addEventListener("pageshow", () => { leaving = false; });
}
