// Small things that every page's script uses. What agents wrote becomes textContent, never HTML.

export const find = (selector, root = document) => root.querySelector(selector);
export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/**
 * Say that a script has bound its controls: `page` is every page's, `own` this page's, `htmx` the vendored one.
 * What works without it (`data-until`) leaves, what needs it (`data-from`) comes; see style.css.
 */
export function bound(name) { document.documentElement.classList.add(`${name}-bound`); }

const GONE = "This is not there any more: somebody has deleted it. What you see is what it was.";
const UNREACHED = "The server cannot be reached. Try again when it is back.";
const answered = (status) => `The server answered with status ${status}.`;

/** Send a request to the API; an answer that is an error is thrown with its words and its `detail`. */
export async function api(method, path, body, headers = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error(UNREACHED);
  }
  if (response.ok) return response;
  if (response.status === 401) toSignIn(method);
  const answer = await response.json().catch(() => ({}));
  const words = typeof answer.detail === "string" ? answer.detail : answer.detail?.message;
  throw Object.assign(new Error(words ?? answered(response.status)), {
    status: response.status,
    answer,
  });
}

const RETRY = 3000;

/** Wait until it is worth while to ask again a server that could not be reached. */
export const pause = () => new Promise((done) => setTimeout(done, RETRY));

/** Lead to the sign-in; who has done something reads that it was not done. */
export function toSignIn(method) {
  const next = encodeURIComponent(location.pathname + location.search);
  location.assign(`/login?next=${next}${method === "GET" ? "" : "&ended=true"}`);
}

/** Ask until the server itself answers; `waits` is what is done before it is asked again. */
export async function reached(ask, waits = pause) {
  for (;;) {
    try { return await ask(); } catch (error) {
      if (error.status < 500) throw error;
      await waits(error);
    }
  }
}

/** Give an element an author's colour: the classes that the server gives it too. */
export function colour(element, classes) {
  for (const name of [...element.classList]) if (/^[cp]\d+$/.test(name)) element.classList.remove(name);
  element.classList.add(...classes.split(" ").filter(Boolean));
}

/** Let something glow once, in its author's colour. */
export function glow(element) {
  element.classList.remove("glow");
  element.getBoundingClientRect();
  element.classList.add("glow");
}

/** Copy a text; return whether it could be. Pages that came without encryption have no clipboard of their own. */
export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text).then(() => true, () => false);
  const field = document.createElement("textarea");
  field.value = text;
  field.className = "hidden";
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

/** Say something for a while; what stays true stays. */
export function notice(words, { stays = false } = {}) {
  const box = find("#notice");
  box.textContent = words;
  box.hidden = false;
  clearTimeout(notice.timer);
  if (!stays) notice.timer = setTimeout(() => { box.hidden = true; }, 8000);
}

const STEPS = [[1, 60, "s"], [60, 3600, "min"], [3600, 86400, "h"], [86400, 86400 * 60, "d"], [86400 * 30, Infinity, "months"]];

export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - moment) / 1000);
  if (seconds < 1) return "just now";
  const [size, , unit] = STEPS.find((step) => seconds < step[1]);
  return `${Math.floor(seconds / size)} ${unit} ago`;
}

/** A moment as its reader's clock shows it, with the zone that this is in. */
export const exact = (moment) => moment.toLocaleString([], { dateStyle: "medium", timeStyle: "long" });

export function setTime(element, iso) {
  element.dateTime = iso;
  element.title = exact(new Date(iso));
  element.textContent = ago(new Date(iso));
}

/** Put parts of a freshly rendered page in the place of those that are shown; what is being used stays. */
export function swap(fresh, ids) {
  for (const id of ids) {
    const [old, next] = [document.getElementById(id), fresh.getElementById(id)];
    if (!old || !next || old.isEqualNode(next)) continue;
    if (old.querySelector("dialog[open], [data-unsent], [data-unsaved]")) continue;
    const used = document.activeElement;
    if (old.contains(used) && used.matches("select, textarea, input:not([type=range])")) continue;
    const hadFocus = old.contains(used);
    for (const fold of all("details[open][id], .fold[open]", old)) {
      const same = fold.id ? next.querySelector(`#${CSS.escape(fold.id)}`) : null;
      if (same) same.open = true;
    }
    old.replaceWith(next);
    if (hadFocus) refocus(used, next);
  }
}

/** Put the focus where it was: on what is the same as `used`, else on the part that it was in. */
function refocus(used, part) {
  const called = (each) => each.getAttribute("aria-label") ?? each.textContent.trim();
  const leads = (each) => each.getAttribute("href") ?? each.form?.getAttribute("action");
  const isSame = (each) => (used.id ? each.id === used.id : called(each) === called(used) && leads(each) === leads(used));
  const same = all(used.tagName, part).find((each) => isSame(each) && each.checkVisibility());
  if (!same) part.tabIndex = -1;
  (same ?? part).focus({ preventScroll: true });
}

export async function load(address) {
  const response = await fetch(address, { headers: { Accept: "text/html" } }).catch(() => { throw new Error(UNREACHED); });
  if (response.redirected && new URL(response.url).pathname === "/login") location.reload();
  if (!response.ok && response.status !== 404) throw new Error(answered(response.status));
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  // Somebody else has signed in at this browser, and what stands here is not theirs.
  if (page.documentElement.dataset.whose !== document.documentElement.dataset.whose) location.reload();
  return { status: response.status, page };
}

/** Render parts of this page anew, not more often than every `gap` milliseconds, the last wish always granted. */
export function refresher(ids, { gap = 250, before = () => {}, after = () => {} } = {}) {
  let busy = false;
  let wanted = false;
  return async function refresh() {
    wanted = true;
    if (busy) return;
    busy = true;
    while (wanted) {
      wanted = false;
      const rest = new Promise((done) => setTimeout(done, gap));
      try {
        const { status, page } = await load(location.href);
        if (status === 200) {
          const kept = before();
          document.title = page.title;
          swap(page, ids);
          after(kept);
        } else notice(GONE, { stays: true });
      } catch {
        wanted = true;  // what the page missed may be all that happens for long
        await pause();
      }
      await rest;
    }
    busy = false;
  };
}
