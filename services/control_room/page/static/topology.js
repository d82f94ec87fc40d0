// The platform as a picture: who calls whom, how much, how well, and the breakers in between.

import { badge, duration, h, part, s, show, table, away, $ } from "./dom.js";

const PLACES = {
  customers: [95, 190],
  order: [370, 190],
  payment: [690, 70],
  queue: [690, 190],
  inventory: [690, 310],
  "card network": [930, 70],
};
const SIZE = [130, 62];
const BREAKERS = { payment: /^payment/, inventory: /^inventory/ };
const WORST = ["closed", "disabled", "metrics_only", "half_open", "forced_open", "open"];
const KINDS = { closed: "ok", half_open: "warn", open: "bad", forced_open: "bad", disabled: "none", metrics_only: "none" };

/** The worst breaker of the order replicas on the way to a service: `{state, name}`, or null. */
export function breakerTo(service, replicas) {
  const pattern = BREAKERS[service];
  let worst = null;
  for (const replica of replicas.filter((each) => each.service === "order")) {
    for (const [name, state] of Object.entries(replica.breakers ?? {})) {
      if (pattern?.test(name) && (!worst || WORST.indexOf(state) > WORST.indexOf(worst.state))) worst = { name, state };
    }
  }
  return worst;
}

export const words = (state) => state.replace("_", " ");
export const kindOf = (state) => KINDS[state] ?? "none";

function edges(view) {
  const known = (view.numbers.value?.edges ?? []).map((edge) => ({ ...edge }));
  const replicas = view.replicas.value ?? [];
  for (const [from, to] of [["customers", "order"], ["order", "payment"], ["order", "inventory"], ["payment", "card network"]]) {
    if (!known.some((edge) => edge.from === from && edge.to === to)) known.push({ from, to });
  }
  for (const edge of known) edge.breaker = edge.from === "order" ? breakerTo(edge.to, replicas) : null;
  return known.sort((one, other) => (one.from + one.to).localeCompare(other.from + other.to));
}

function health(edge) {
  if (edge.breaker && kindOf(edge.breaker.state) === "bad") return "bad";
  if (edge.errors > 0.05) return "bad";
  if (edge.errors > 0.001 || (edge.breaker && kindOf(edge.breaker.state) === "warn") || edge.p99 > 1) return "warn";
  return edge.rate > 0 ? "ok" : "none";
}

const rate = (edge) => (edge.rate === undefined ? "?" : edge.rate.toFixed(edge.rate < 10 ? 1 : 0));
const share = (edge) => (edge.errors === undefined ? "–" : `${(edge.errors * 100).toFixed(1)} %`);

function node(name, place, replicas) {
  const own = replicas.filter((each) => each.service === name);
  const ready = own.filter((each) => each.status === "ready").length;
  const kind = !own.length ? "none" : ready === own.length ? "ok" : ready ? "warn" : "bad";
  const says = own.length ? `${ready} of ${own.length} ready` : "";
  const [x, y] = place;
  return s("g", { class: `node ${kind}` },
    s("rect", { x: x - SIZE[0] / 2, y: y - SIZE[1] / 2, width: SIZE[0], height: SIZE[1], rx: 10 }),
    s("text", { x, y: says ? y - 4 : y + 6, class: "name" }, name),
    says ? s("text", { x, y: y + 20, class: "says" }, says) : null);
}

function line(edge, places) {
  const [x1, y1] = places[edge.from];
  const [x2, y2] = places[edge.to];
  // between the boxes' nearer sides
  const across = Math.abs(x2 - x1) > SIZE[0];
  const side = Math.sign(across ? x2 - x1 : y2 - y1);
  const from = across ? [x1 + (side * SIZE[0]) / 2, y1] : [x1, y1 + (side * SIZE[1]) / 2];
  const to = across ? [x2 - (side * SIZE[0]) / 2 - 6 * side, y2] : [x2, y2 - (side * SIZE[1]) / 2 - 6 * side];
  const width = 1.5 + Math.min(5, Math.log2(1 + (edge.rate ?? 0)));
  const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
  const kind = health(edge);
  const errors = edge.errors === undefined ? "" : ` · ${share(edge)}`;
  const label = [`${rate(edge)}/s${errors}`, edge.p99 === undefined ? "" : `p99 ${duration(edge.p99)}`];
  const rising = Math.abs(y2 - y1) > SIZE[1];
  const offset = !across ? [36, 5] : rising ? [-78, y2 < y1 ? -30 : 32] : [0, label[1] ? -30 : -14];
  return s("g", { class: `edge ${kind}` },
    s("line", { x1: from[0], y1: from[1], x2: to[0], y2: to[1], "stroke-width": width, "marker-end": `url(#tip-${kind})`, class: edge.rate > 0 ? "flows" : "" }),
    s("text", { x: middle[0] + offset[0], y: middle[1] + offset[1] }, label[0]),
    label[1] ? s("text", { x: middle[0] + offset[0], y: middle[1] + offset[1] + 17 }, label[1]) : null,
    edge.breaker ? breakerMark(edge, middle) : null);
}

function breakerMark(edge, [x, y]) {
  const text = words(edge.breaker.state);
  const width = 22 + text.length * 8.6;
  return s("g", { class: `breaker ${kindOf(edge.breaker.state)}`, "data-breaker": edge.to, "data-state": edge.breaker.state },
    s("rect", { x: x - width / 2, y: y - 12, width, height: 24, rx: 12 }),
    s("text", { x, y: y + 5 }, text));
}

export function drawTopology(view) {
  const listed = edges(view);
  const replicas = view.replicas.value ?? [];
  const names = [...new Set([...Object.keys(PLACES), ...listed.flatMap((edge) => [edge.from, edge.to])])];
  const places = {};
  let spare = 0;
  for (const name of names) places[name] = PLACES[name] ?? [95 + 150 * spare++, 395];
  const missing = view.replicas.away || view.numbers.away;
  show($("topology"), [listed, replicas.map((each) => [each.service, each.status]), missing], () => [
    view.replicas.away ? away(`Replicas: ${view.replicas.away}`) : null,
    view.numbers.away ? away(view.numbers.away) : null,
    s("svg", { viewBox: `0 0 1010 ${spare ? 440 : 370}`, role: "img", "aria-label": summary(listed) },
      s("defs", {}, ["ok", "warn", "bad", "none"].map((kind) =>
        s("marker", { id: `tip-${kind}`, class: `tip ${kind}`, viewBox: "0 0 10 10", refX: 5, refY: 5, markerWidth: 9, markerHeight: 9, markerUnits: "userSpaceOnUse", orient: "auto" },
          s("path", { d: "M0 0 10 5 0 10z" })))),
      listed.map((edge) => line(edge, places)),
      names.map((name) => node(name, places[name], replicas))),
  ]);
  show($("edges"), listed, () => table(["from", "to", "calls/s", "errors", "p99", "breaker"], listed.map((edge) =>
    h("tr", { "data-edge": `${edge.from}-${edge.to}` }, h("td", {}, edge.from), h("td", {}, edge.to), h("td", { class: "number" }, rate(edge)),
      h("td", { class: "number" }, share(edge)), h("td", { class: "number" }, duration(edge.p99)),
      h("td", {}, edge.breaker ? badge(kindOf(edge.breaker.state), words(edge.breaker.state)) : "–"))), "Calls between the services"));
}

function summary(listed) {
  const told = listed.filter((edge) => health(edge) !== "ok" && health(edge) !== "none");
  const sick = told.map((edge) => `${edge.from} to ${edge.to}: errors ${share(edge)}${edge.breaker ? `, breaker ${words(edge.breaker.state)}` : ""}`);
  return sick.length ? `Topology; in trouble: ${sick.join("; ")}` : "Topology; no edge is in trouble";
}

export function drawReplicas(view) {
  const kinds = { ready: "ok", limited: "warn", unready: "warn", down: "bad" };
  part($("replicas"), view.replicas, (listed) => listed.length
    ? h("ul", { class: "plain replicas" }, listed.map((each) =>
      h("li", {}, badge(kinds[each.status] ?? "none", each.status), h("span", {}, each.name), each.reason ? h("span", { class: "hint" }, each.reason) : null)))
    : away("nothing should run, says the list of replicas"));
}
