// The layers of the resilience pipeline as switches, breakers as levers, and what happened lately.

import { $, away, badge, h, part } from "./dom.js";
import { deed } from "./api.js";
import { kindOf, words } from "./topology.js";

const MOVES = [["open", "Open"], ["half_open", "Half-open"], ["closed", "Close"], ["forced_open", "Force open"], ["reset", "Reset"]];

export function drawResilience(view) {
  // seconds pass by themselves: without them, what has not changed is not drawn anew
  const still = view.levers?.value?.pipelines.map((each) => ({ ...each, events: each.events.map((event) => ({ ...event, seconds_ago: Math.round((view.at - event.seconds_ago) / 2) * 2 })) }));
  part($("pipelines"), view.levers && { away: view.levers.away, value: still }, (pipelines) => pipelines.length
    ? pipelines.map((each) => pipeline(each, view.at))
    : away(["No order replica answers.", ...(view.levers?.value?.refused ?? [])].join(" ")));
}

function pipeline(one, now) {
  const breakers = Object.entries(one.breaker);
  return h("article", { class: "pipeline", "data-pipeline": one.name },
    h("h3", {}, one.name),
    h("div", { class: "layers" }, Object.entries(one.layers).map(([layer, enabled], position) => [position ? h("span", { class: "arrow", "aria-hidden": "true" }, "→") : null, toggle(one.name, layer, enabled)])),
    breakers.length ? breaker(breakers) : null,
    one.events.length
      ? h("details", {}, h("summary", { "data-key": `events-${one.name}` }, `${one.events.length} events`), h("ul", { class: "plain" }, one.events.map((event) => told(event, now))))
      : null);
}

function toggle(name, layer, enabled) {
  const text = enabled === "mixed" ? "differs between replicas" : enabled ? "on" : "off";
  const flip = () => deed("POST", `/deeds/pipelines/${name}`, { layer, enabled: enabled !== true }, `${name}: ${words(layer)} is ${enabled === true ? "off" : "on"}.`);
  return h("button", { type: "button", role: "switch", class: "lever layer", "aria-checked": enabled === true ? "true" : "false", "data-layer": layer, "data-key": `${name} ${layer}`, on: { click: flip } },
    h("span", {}, words(layer)), h("strong", {}, text));
}

function breaker(listed) {
  const name = listed[0][1].name;
  const move = (to, text) => deed("POST", `/deeds/breakers/${name}`, { to }, `Breaker ${name}: ${text.toLowerCase()}.`);
  return h("div", { class: "row" },
    h("span", {}, `Breaker ${name}:`),
    listed.map(([replica, each]) => h("span", { class: "row" }, badge(kindOf(each.state), words(each.state)), h("span", { class: "hint" }, `${replica}, ${each.failure_rate < 0 || each.failure_rate === undefined ? "too few calls" : `${each.failure_rate.toFixed(0)} % failed`}`))),
    MOVES.map(([to, text]) => h("button", { type: "button", class: "lever small", "data-key": `${name} ${to}`, "aria-label": `${text} breaker ${name}`, on: { click: () => move(to, text) } }, text)));
}

function told(event, now) {
  const details = Object.entries(event.details).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`);
  return h("li", {}, h("time", {}, new Date((event.seconds_ago || now) * 1000).toLocaleTimeString([], { hour12: false })), h("strong", {}, event.kind), h("span", { class: "hint" }, `${event.replica} ${details.join(", ")}`));
}
