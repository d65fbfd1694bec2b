// A run's page: follow it live, then render what became of it.

import { Chat } from "./chat.js";
import { api, find } from "./dom.js";

const page = find("#run-page");
const chat = new Chat();

if (page.dataset.over !== "yes") {
  api("GET", `/v1/runs/${page.dataset.run}/stream`)
    .then((response) => chat.follow(response))
    .then(() => location.reload())
    .catch(() => setTimeout(() => location.reload(), 3000));
}
