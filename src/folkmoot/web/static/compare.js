// Two versions side by side: from change to change, with a button or the keys n and p.

import { all, bound, find } from "./dom.js";

const changes = all(".beside-each [id^=change-]");
let at = -1;

function go(step) {
  if (!changes.length) return;
  at = (at + step + changes.length) % changes.length;
  changes[at].scrollIntoView({ block: "center" });
  changes[at].focus({ preventScroll: true });
  find("#at-change").textContent = `change ${at + 1} of ${changes.length}`;
}

for (const [id, step] of [["next-change", 1], ["previous-change", -1]]) {
  find(`#${id}`)?.addEventListener("click", (event) => { event.preventDefault(); go(step); });
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea, select")) return;
  const step = { n: 1, p: -1 }[event.key];
  if (step) go(at < 0 && step < 0 ? 0 : step);
});
bound("own");
