// ReDoc, with the description of this server's API.
Redoc.init("/openapi.json", {}, document.getElementById("redoc"));
