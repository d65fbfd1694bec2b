// Streams that close while nobody looks and come back by themselves, and the one that every page hears.

const RETRY = 3000;
const HIDDEN_FOR = 10000;

/** One stream of server-sent events; `handlers` by the event's name get its data. */
export class Stream {
  constructor(address, handlers, { up = () => {}, down = () => {} } = {}) {
    Object.assign(this, { address, handlers, up, down });
    this.open();
    document.addEventListener("visibilitychange", () => this.look());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", (event) => { if (event.persisted) this.open(); });
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = new EventSource(this.address);
    this.source.onopen = () => this.up();
    this.source.onerror = () => {
      const isRefused = this.source?.readyState === EventSource.CLOSED;
      this.down(isRefused);
      if (isRefused) this.timer = setTimeout(() => this.open(), RETRY);
    };
    for (const [name, handle] of Object.entries(this.handlers)) {
      this.source.addEventListener(name, (event) => handle(JSON.parse(event.data)));
    }
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  /** A tab that is not looked at gives its connection back: a browser has six for each server. */
  look() {
    clearTimeout(this.timer);
    if (document.hidden) this.timer = setTimeout(() => this.close(), HIDDEN_FOR);
    else if (!this.source) this.open();
  }
}

const heard = new EventTarget();
let since = null;

/** Call `handle` at each event of `kind`: edits, runs, shape, folders, or `back` when news may have been missed. */
export function hear(kind, handle) {
  heard.addEventListener(kind, (event) => handle(event.detail));
}

function tell(kind, detail) {
  heard.dispatchEvent(new CustomEvent(kind, { detail }));
}

function show(state, words) {
  const dot = document.getElementById("live");
  if (dot.dataset.state === state) return;
  dot.dataset.state = state;
  dot.querySelector(".live-words").textContent = words;
}

let looked = false;

/** Lead to the sign-in where the session is over, perhaps in another tab; who has not saved something is asked once. */
async function lookForSession() {
  if (looked) return;
  const { status } = await fetch("/session").catch(() => ({}));
  if (status !== 401) return;
  looked = true;
  location.reload();
}

/** Begin to hear; pages for which there is nothing to hear do not. */
export function listen() {
  let first = true;
  new Stream(
    `/events?since=${document.getElementById("live").dataset.askedAt}`,
    {
      edits: (data) => tell("edits", data),
      runs: (data) => tell("runs", data),
      shape: (data) => tell("shape", data),
      folders: (data) => tell("folders", data),
      missed: () => tell("back"),
    },
    {
      up() {
        show("live", "live");
        if (!first) tell("back");
        first = false;
        since = null;
      },
      down(isRefused) {
        since ??= new Date().toLocaleTimeString();
        show("lost", `not live since ${since}`);
        if (isRefused) lookForSession();
      },
    },
  );
}
