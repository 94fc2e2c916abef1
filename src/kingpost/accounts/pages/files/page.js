// The page of a link in a mail: one button, which sends the token of the link. Loading the page sends nothing.
"use strict";

const form = document.querySelector("form");
const button = form.querySelector("button");
const field = form.querySelector("input");
const outcome = document.getElementById("outcome");

const EXPIRED = "This link is no longer valid: it was used, has expired, or was replaced by a newer one. Request a new one.";
const UNREACHABLE = "The server cannot be reached right now. Try again in a moment.";

function show(text, isFault) {
  outcome.textContent = text;
  outcome.classList.toggle("fault", isFault);
  field?.setAttribute("aria-invalid", String(isFault));
  button.disabled = false;
  (isFault && !form.hidden ? (field ?? button) : outcome).focus();
}

// Returns the text for a problem document (RFC 9457). A fault of the token is explained as a fault of the link.
function explain(status, problem) {
  const faults = problem.errors ?? [];
  const passwordFaults = faults.filter((fault) => fault.pointer === "/new_password");
  if (passwordFaults.length > 0) {
    return passwordFaults.map((fault) => `${fault.detail}.`).join(" ");
  }
  if (faults.some((fault) => fault.pointer === "/token") || status === 401 || status === 404) {
    return form.dataset.expired ?? EXPIRED;
  }
  if (status === 429) {
    return "Too many attempts. Wait a minute, then try again.";
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
    show(form.dataset.done, false);
  } else {
    show(explain(response.status, await response.json()), true);
  }
}

function main() {
  const token = new URLSearchParams(location.search).get("token");
  // Remove the token from the address bar and the history, so that it is not seen or shared by accident.
  history.replaceState(null, "", location.pathname);
  if (!token) {
    show("This link is incomplete. Open it from the message again.", true);
    return;
  }
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await send(token);
    } catch {
      show(UNREACHABLE, true);
    }
  });
}

main();
