// The server's API. A failed request becomes an error with the server's message.

import { byId } from "./element.js";

const ROOT = new URL("../v1/", import.meta.url); // relative to the assets, also behind a proxy
const KEPT = "sidestep-key";

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const ask = (body, signal) => request("recommend", { body, signal });

// The command that sends the same request; a key is left to the shell.
export function curlOf(body) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = sessionStorage.getItem(KEPT) ? ' -H "Authorization: Bearer $SIDESTEP_API_KEY"' : "";
  const where = quoted(new URL("recommend", ROOT).href);
  return `curl -s ${where} -H 'Content-Type: application/json'${key} -d ${quoted(JSON.stringify(body))}`;
}

export function get(path, query = {}, signal = undefined) {
  const given = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return request(`${path}?${new URLSearchParams(given)}`, { signal });
}

async function request(path, { body, signal }) {
  for (;;) {
    const key = sessionStorage.getItem(KEPT);
    const headers = { Accept: "application/json" };
    if (key) headers.Authorization = `Bearer ${key}`;
    if (body) headers["Content-Type"] = "application/json";
    const sent = { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body) };
    let answer;
    try {
      answer = await fetch(new URL(path, ROOT), sent);
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused(0, "The server does not answer; is it still running?");
    }
    if (answer.ok) return answer.json();
    const message = await sentence(answer);
    if (answer.status !== 401) throw new Refused(answer.status, message);
    // Another request may have set the key in the meantime.
    if (sessionStorage.getItem(KEPT) === key) await askForKey(message);
  }
}

async function sentence(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `The server answered with status ${answer.status} and no message.`;
  }
}

let asking = null; // several requests may be refused at once; one dialog is enough

function askForKey(message) {
  asking ??= new Promise((resolve) => {
    const door = byId("door");
    const input = byId("key");
    byId("door-message").textContent = message;
    input.value = "";
    const answered = () => {
      if (!input.value) return door.showModal(); // closed with Escape: without a key there is nothing to send
      sessionStorage.setItem(KEPT, input.value);
      door.removeEventListener("close", answered);
      asking = null;
      return resolve();
    };
    door.addEventListener("close", answered);
    door.showModal();
  });
  return asking;
}
