// What a link from a mail leads to: one button, which sends the link's token. Nothing is sent before.
"use strict";

const form = document.querySelector("form");
const button = form.querySelector("button");
const field = form.querySelector("input");
const outcome = document.getElementById("outcome");

const EXPIRED = "This link does not work any more: it was used, has expired, or a newer one was sent. Ask for a new one.";
const UNREACHABLE = "The server cannot be reached right now. Try again in a moment.";

function tell(text, isFault) {
  outcome.textContent = text;
  outcome.classList.toggle("fault", isFault);
  field?.setAttribute("aria-invalid", String(isFault));
  button.disabled = false;
  (isFault && !form.hidden ? (field ?? button) : outcome).focus();
}

// What a problem document (RFC 9457) says, for a person: a fault of the token is a fault of the link.
function explain(status, problem) {
  const faults = problem.errors ?? [];
  const own = faults.filter((fault) => fault.pointer === "/new_password");
  if (own.length > 0) {
    return own.map((fault) => `${fault.detail}.`).join(" ");
  }
  if (faults.some((fault) => fault.pointer === "/token") || status === 401 || status === 404) {
    return EXPIRED;
  }
  if (status === 429) {
    return "Too many tries. Wait a minute, then try again.";
  }
  return status >= 500 ? UNREACHABLE : `${problem.detail ?? "This did not work"}.`;
}

async function send(token) {
  const body = field ? { token, new_password: field.value } : { token };
  const response = await fetch(form.dataset.call, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
    credentials: "omit",
    cache: "no-store",
  });
  if (response.ok) {
    form.hidden = true;
    tell(form.dataset.done, false);
  } else {
    tell(explain(response.status, await response.json()), true);
  }
}

function main() {
  const token = new URLSearchParams(location.search).get("token");
  // Out of the address bar and the history, before anybody looks over a shoulder or shares the address.
  history.replaceState(null, "", location.pathname);
  if (!token) {
    tell("This link is not complete. Open it from the message again.", true);
    return;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await send(token);
    } catch {
      tell(UNREACHABLE, true);
    }
  });
}

main();
