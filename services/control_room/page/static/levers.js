// Faults on purpose, what acts now, and the steady state.

import { $, away, badge, h, part, show } from "./dom.js";
import { deed, say } from "./api.js";
import { breakerTo, kindOf, words } from "./topology.js";

export function setUpLevers(facts) {
  const begin = (drill) => {
    const seconds = Number($("drill-seconds").value) || 30;
    deed("POST", `/deeds/drills/${drill.name}`, { seconds }, `${drill.title}: for ${seconds} s.`);
  };
  $("drills").replaceChildren(...facts.drills.map((drill) =>
    h("li", {}, h("button", { type: "button", class: "lever", "data-drill": drill.name, "aria-label": `Begin: ${drill.title}`, on: { click: () => begin(drill) } }, "Begin"),
      h("span", {}, drill.title), h("span", { class: "hint" }, `in ${drill.service}`))));
  $("fault").addEventListener("submit", (event) => {
    event.preventDefault();
    try {
      const fault = JSON.parse($("fault-body").value);
      deed("POST", "/deeds/faults", { target: $("fault-target").value, fault }, `Fault ${fault.kind}: begun.`);
    } catch (error) {
      say(`That is no JSON: ${error.message}`, true);
    }
  });
}

function fault(each) {
  const known = new Set(["id", "kind", "seconds_left", "struck", "replica", "service", "experiment", "seconds"]);
  const told = Object.entries(each).filter(([name, value]) => !known.has(name) && value !== 0 && value !== false && !(name === "rate" && value === 1));
  const what = told.map(([name, value]) => `${name} ${value}`).join(", ");
  const end = () => deed("DELETE", `/deeds/faults/${each.replica}/${each.id}`, undefined, `${each.kind} in ${each.replica}: ended.`);
  return h("li", { "data-fault": each.kind },
    h("button", { type: "button", class: "lever", "data-key": each.id, "aria-label": `End ${each.kind} in ${each.replica}`, on: { click: end } }, "End"),
    badge("bad", each.kind), h("span", {}, `${each.replica}: ${what}`),
    h("span", { class: "hint" }, `${Math.ceil(each.seconds_left)} s left, struck ${each.struck} times`));
}

export function drawLevers(view) {
  const off = view.levers?.value?.faults_off ?? "";
  show($("faults-off"), off, () => (off ? away(off) : null));
  part($("faults"), view.levers, (levers) => {
    const all = () => deed("DELETE", "/deeds/faults", undefined, "Every fault in the services: ended.");
    const silent = levers.refused.map((reason) => away(reason));
    return levers.faults.length
      ? [...silent, h("ul", { class: "plain" }, levers.faults.map(fault)), h("button", { type: "button", class: "lever", id: "end-faults", "data-key": "all", on: { click: all } }, "End all of these")]
      : [...silent, h("p", {}, silent.length ? "No fault acts inside the services that answer." : "No fault acts inside the services.")];
  });
  if (view.levers?.value) {
    const names = [...new Set(view.levers.value.replicas.map((each) => each.service)), ...view.levers.value.replicas.map((each) => each.name)];
    show($("fault-target"), names, () => names.map((name) => h("option", {}, name)));
  }
  const checks = steady(view);
  show($("steady"), checks, () => h("ul", { class: "plain" }, checks.map(([kind, text, why]) =>
    h("li", {}, badge(kind, { ok: "holds", bad: "broken", none: "unknown" }[kind]), h("span", {}, text), why ? h("span", { class: "hint" }, why) : null))));
}

/** What experiments call the steady state, as far as this page sees it. */
function steady(view) {
  const replicas = view.replicas.value;
  const edge = view.numbers.value?.edges.find((each) => each.from === "customers");
  const sick = (replicas ?? []).filter((each) => ["down", "unready"].includes(each.status)).map((each) => each.name);
  const open = ["payment", "inventory"].map((name) => [name, breakerTo(name, replicas ?? [])]).filter(([, each]) => each && kindOf(each.state) !== "ok" && kindOf(each.state) !== "none");
  const served = edge?.errors;
  return [
    replicas ? [sick.length ? "bad" : "ok", "Every replica is ready", sick.join(", ")] : ["none", "Every replica is ready", view.replicas.away],
    replicas ? [open.length ? "bad" : "ok", "No breaker is open", open.map(([name, each]) => `${name} ${words(each.state)}`).join(", ")] : ["none", "No breaker is open", view.replicas.away],
    served === undefined ? ["none", "Customers are served", view.numbers.away || "nobody orders just now"] : [served > 0.05 ? "bad" : "ok", "Customers are served", `${((1 - served) * 100).toFixed(1)} %`],
    edge?.p99 === undefined ? ["none", "p99 below one second", view.numbers.away || "nobody orders just now"] : [edge.p99 > 1 ? "bad" : "ok", "p99 below one second", `${edge.p99.toFixed(2)} s`],
  ];
}

