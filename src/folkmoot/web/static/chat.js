// A turn as it happens: the events of a run's stream become what was said, thought and done.

import { all, find, load, pause, setTime } from "./dom.js";

/** Yield the events of a response of server-sent events, as far as they come: a connection that breaks ends them. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read().catch(() => ({ done: true }));
    if (done) return;
    const pieces = (rest + value).split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) {
      const data = piece.split("\n").find((line) => line.startsWith("data: "))?.slice(6);
      if (data === "[DONE]") return;
      if (data) yield JSON.parse(data);
    }
  }
}

/** A line for each call that code made of the agent's tools. */
function innerWords(calls) {
  const lines = calls.map((each) => `${each.status === "success" ? "✓" : "✗"} ${each.name}(${each.arguments}) → ${each.tool_return}\n`);
  return lines.join("");
}

/** The arguments of a call on one line, as the server shows them. */
function callWords(text) {
  let words = text;
  try {
    const given = JSON.parse(text);
    const first = Object.entries(given).find(([name, value]) => name !== "label" && typeof value === "string");
    words = [given.label, first?.[1]].filter(Boolean).join(" · ");
  } catch { /* it is still being written */ }
  const flat = words.replace(/\s+/g, " ").trim();
  return flat.length <= 120 ? flat : `${flat.slice(0, 119)}…`;
}

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

/** What is shown of a conversation. */
export class Chat {
  constructor() {
    this.log = find("#log");
    this.box = find("#messages");
    this.arguments = new Map();
    this.toEnd();
  }

  /** Keep the newest in view, unless the reader has scrolled up. */
  keepEnd(change) {
    const wasAtEnd = this.isAtEnd();
    change();
    if (wasAtEnd) this.toEnd();
  }

  isAtEnd() { return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60; }

  toEnd() { this.log.scrollTop = this.log.scrollHeight; }

  add(kind) {
    const element = find(`#blank-${kind}`).content.firstElementChild.cloneNode(true);
    const header = find("header .who", element);
    if (header) {
      const time = document.createElement("time");
      setTime(time, new Date().toISOString());
      header.after(" ", time);
    }
    find("#messages").append(element);
    return element;
  }

  /** Put what the server made of what was said, and of whole replies, in the place of what was shown meanwhile. */
  async settle() {
    const written = all(".saying.agent[data-message]:not([data-stored])");
    const said = all("#messages > .saying.user:not([data-message])");
    if (!written.length && !said.length) return;
    const { page } = await load(location.href);
    const kept = all("#messages > .saying.user[data-message]", page);
    this.keepEnd(() => {
      said.reverse().forEach((saying, place) => { if (kept.at(-1 - place)) saying.replaceWith(kept.at(-1 - place)); });
      for (const saying of written) {
        const stored = page.querySelector(`#messages [data-message="${CSS.escape(saying.dataset.message)}"]`);
        if (stored) saying.replaceWith(stored);
      }
    });
  }

  /** Show what is being said, and return it. */
  say(words, pictures) {
    const saying = this.add("user");
    find(".text", saying).textContent = words;
    if (pictures.length) {
      const box = document.createElement("div");
      box.className = "pictures";
      box.append(...pictures.map((each) => each.canvas));
      saying.append(box);
    }
    this.toEnd();
    return saying;
  }

  /**
   * Show a run's events to its end; return why it ended. A run goes on where the connection breaks: `rest` is then asked
   * for what comes behind the last event that was seen.
   */
  async follow(response, rest, begun = () => {}) {
    let [stream, reason, seen] = [response, null, 0];
    while (!reason) {
      const before = seen;
      let failure = null;
      for await (const event of eventsOf(stream)) {
        seen = event.seq_id ?? seen;
        if (event.run_id) begun(event.run_id);
        if (event.message_type === "error_message") failure = event;
        else if (event.message_type === "stop_reason") reason = event.stop_reason;
        else this.keepEnd(() => this.show(event));
      }
      // Without the end behind it, a failure is of the server that told of the run, not of the run.
      if (reason && failure) this.keepEnd(() => this.show(failure));
      if (!reason && seen === before) await pause();
      if (!reason) stream = await rest(seen);
    }
    this.openDecisions(reason);
    this.settle().catch(() => { /* what came in pieces stays; it has the same words */ });
    return reason;
  }

  show(event) {
    switch (event.message_type) {
      case "assistant_message": return this.piece("agent", event.id, event.content);
      case "reasoning_message": return this.piece("thought", event.id, event.reasoning);
      case "tool_call_message": return this.call(event, false);
      case "approval_request_message": return this.call(event, true);
      case "tool_return_message": return this.returned(event);
      case "error_message": find(".text", this.add("error")).textContent = event.message; return undefined;
      default: return undefined;
    }
  }

  piece(kind, id, words) {
    let element = find(`[data-message="${CSS.escape(id)}"]`);
    if (element && "stored" in element.dataset) return;
    if (!element) {
      element = this.add(kind);
      element.dataset.message = id;
    }
    find(".text", element).append(words);
  }

  call(event, waits) {
    const calls = [event.tool_calls ?? event.tool_call].flat();
    for (const call of calls) this.oneCall(event, call, waits);
  }

  oneCall(event, call, waits) {
    let card = find(`[data-call="${CSS.escape(call.tool_call_id)}"]`);
    if (card && "stored" in card.dataset) return;
    if (!card) {
      card = this.add("tool");
      card.dataset.call = call.tool_call_id;
      card.dataset.run = event.run_id;
      find(".tool-name", card).textContent = call.name ?? "";
      find(".tool-state", card).textContent = "…";
      if (waits) card.dataset.waits = "yes";
    }
    const written = (this.arguments.get(call.tool_call_id) ?? "") + (call.arguments ?? "");
    this.arguments.set(call.tool_call_id, written);
    find(".tool-words", card).textContent = callWords(written);
    find(".arguments", card).textContent = pretty(written);
  }

  returned(event) {
    const card = find(`[data-call="${CSS.escape(event.tool_call_id)}"]`);
    if (!card) return;
    const ok = event.status === "success";
    card.classList.remove("waits");
    card.classList.add(ok ? "ok" : "failed");
    find(".tool-state", card).textContent = ok ? "✓" : "✗ failed";
    find(".result", card).textContent = event.tool_return;
    find(".result", card).hidden = false;
    find(".inner", card).textContent = innerWords(event.inner_calls ?? []);
    find(".inner", card).hidden = !event.inner_calls?.length;
    find(".decide", card).hidden = true;
  }

  /** Ask for decisions about the calls that wait; a card that never got its answer says so. */
  openDecisions(reason) {
    for (const card of all("[data-call]:not(.ok, .failed, .waits)")) {
      if (reason === "requires_approval" && card.dataset.waits) {
        card.classList.add("waits");
        card.open = true;
        find(".tool-state", card).textContent = "waits for you";
        find(".decide", card).hidden = false;
      } else if (find(".tool-state", card).textContent === "…") {
        find(".tool-state", card).textContent = "not run";
      }
    }
    if (reason === "requires_approval") this.toEnd();
  }
}
