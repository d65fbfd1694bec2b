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
const name = (form) => KEPT + new URL(form.action).pathname;
const values = (form) => fields(form).map((field) => [field.name, field.type === "checkbox" ? field.value : "", read(field)]);
const seen = (form) => fields(form).filter((field) => field.type !== "hidden").map((field) => field.name);

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
}

/** Tell whether what is kept of a form differs from what the server sent, in what a person sees. */
function differs(form, kept, served) {
  const visible = seen(form);
  const shown = (each) => JSON.stringify(each.filter(([field]) => visible.includes(field)));
  return shown(kept) !== shown(served);
}

function guard(form) {
  const served = values(form);
  const kept = drafts.get(name(form));
  const isAnswer = "unsaved" in form.dataset || "saved" in form.dataset;
  if (kept && !isAnswer && differs(form, kept.values, served)) {
    fill(form, kept.values);
    form.dataset.unsaved = "";
    tell(form, served);
  } else drafts.drop(name(form));
  form.addEventListener("input", (event) => {
    if (event.target.matches(SECRET)) return;
    form.dataset.unsaved = "";
    drafts.set(name(form), { values: values(form) });
  });
  form.addEventListener("submit", () => {
    leaving = true;
    // Kept until its answer is there: a session may be over.
    if (drafts.get(name(form))) drafts.set(name(form), { values: values(form), sent: true });
  });
}

document.addEventListener("click", (event) => {
  const form = event.target.closest("[data-drops]")?.closest("form");
  if (form) forget(form);
});

/** Guard the forms of this page, and forget what another page's form has sent and got an answer to. */
export function guardForms() {
  const forms = all("form[data-guard]");
  if (!find("#sign-in")) {
    const here = forms.map(name);
    try {
      for (const key of Object.keys(localStorage)) {
        if (key.startsWith(KEPT) && !here.includes(key) && drafts.get(key)?.sent) drafts.drop(key);
      }
    } catch { /* nothing is kept in this browser */ }
  }
  forms.forEach(guard);
  addEventListener("beforeunload", (event) => {
    if (!leaving && find("form[data-unsaved]")) event.preventDefault();
  });
  addEventListener("pageshow", () => { leaving = false; });
}
