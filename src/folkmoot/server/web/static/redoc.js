// ReDoc, with the description of this server's API.
Redoc.init("/openapi.json", { hideDownloadButton: false }, document.getElementById("redoc"));
