// Swagger UI on this server's own document. Nothing here asks another host, and no token is stored.
"use strict";

const TOKENS = /\/api(\/v1)?\/auth\/(login|refresh)$/;
const LOGOUT = /\/api(\/v1)?\/auth\/logout$/;

// A login made in the page signs its next calls; a logout ends that.
function keepToken(ui, response) {
  const path = new URL(response.url, location.origin).pathname;
  if (response.status === 200 && TOKENS.test(path)) {
    ui.preauthorizeApiKey("bearerAuth", response.body.access_token);
  } else if (response.status === 204 && LOGOUT.test(path)) {
    ui.authActions.logout(["bearerAuth"]);
  }
  return response;
}

async function main() {
  const response = await fetch("/openapi.json");
  const spec = await response.json();
  // Wherever this page was loaded from (localhost, 127.0.0.1, behind a proxy), that is where calls may go.
  spec.servers = [{ url: location.origin }];
  const ui = SwaggerUIBundle({
    spec,
    dom_id: "#docs",
    deepLinking: true,
    displayRequestDuration: true,
    defaultModelsExpandDepth: 0,
    persistAuthorization: false,
    tryItOutEnabled: true,
    validatorUrl: null,
    responseInterceptor: (answer) => keepToken(ui, answer),
  });
}

main().catch((error) => {
  document.getElementById("docs").textContent = `The documentation cannot be shown: ${error.message}`;
});
