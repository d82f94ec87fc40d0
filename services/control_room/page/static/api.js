// Talking to the page's own process. Nothing is asked while the page is hidden.

import { $ } from "./dom.js";

export class Refused extends Error {}

/** Say something to whoever sits there, and to screen readers. */
export function say(text, bad = false) {
  $("said").textContent = text;
  $("said").classList.toggle("bad", bad);
}

async function answered(response) {
  if (response.ok) return response.status === 204 || response.headers.get("content-length") === "0" ? null : response.json();
  const problem = await response.json().catch(() => ({}));
  const errors = (problem.errors ?? []).map((each) => `${each.field}: ${each.detail}`).join("; ");
  throw new Refused(errors || problem.detail || problem.title || `HTTP ${response.status}`);
}

export async function get(path, signal) {
  return answered(await fetch(path, { signal }));
}

export async function send(method, path, body) {
  const headers = { "x-control-room": "1", "content-type": "application/json" };
  return answered(await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) }));
}

/** Pull a lever: says what came of it. */
export async function deed(method, path, body, done) {
  try {
    const answer = await send(method, path, body);
    const failed = Object.entries(answer?.failed ?? {}).map(([name, why]) => `${name}: ${why}`);
    say(failed.length ? `${done}, but not everywhere: ${failed.join("; ")}` : done, failed.length > 0);
    return answer;
  } catch (error) {
    say(error instanceof Refused ? error.message : "The page's process does not answer.", true);
    return null;
  }
}

const AGAIN_MS = 1000;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function visible() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((resolve) => document.addEventListener("visibilitychange", resolve, { once: true }));
}

/** Show each new view for ever; `lost(reason)` when none comes. */
export async function watch(draw, lost) {
  // asked again and again, not held open: a browser has six connections to a host, and people open more tabs
  let since = 0;
  for (;;) {
    await visible();
    try {
      const limit = AbortSignal.timeout(3000);
      const view = await get(`/view?since=${since}`, limit);
      if (view) {
        since = view.number;
        draw(view);
      }
      await pause(AGAIN_MS);
    } catch {
      lost();
      since = 0;
      await pause(1000);
    }
  }
}
