// A page that was reached from another site was asked for without the session; from here it is asked for with it.
import { find } from "./dom.js";

const form = find("#sign-in");
fetch("/session").then((response) => {
  if (response.status === 204) location.replace(form.dataset.next);
}).catch(() => {}); // the page is being left; a server that is gone is told when the form is sent
