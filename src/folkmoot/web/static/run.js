// A run's page: follow it live, then render what became of it.

import { Chat } from "./chat.js";
import { api, find, reached } from "./dom.js";

const page = find("#run-page");
const chat = new Chat();
const behind = (seen) => reached(() => api("GET", `/v1/runs/${page.dataset.run}/stream?starting_after=${seen}`));

// A page that is loaded anew while the server cannot be reached is lost; so it is followed until it can be.
if (page.dataset.over !== "yes") {
  behind(0)
    .then((response) => chat.follow(response, behind))
    .catch(() => { /* it is there no more, which the page says */ })
    .then(() => location.reload());
}
