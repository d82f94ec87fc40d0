// Grafana's dashboards, drawn here.

import { $, away, h, show } from "./dom.js";
import { get } from "./api.js";
import { panel } from "./charts.js";

const RANGES = [[300, "5 minutes"], [900, "15 minutes"], [3600, "1 hour"], [21600, "6 hours"], [86400, "1 day"]];
const AGAIN_MS = 10_000;
let known = [], missing = "", name = "overview", seconds = 900, chosen = {}, timer = 0, asked = 0;

export function setUpDashboards(facts) {
  known = facts.dashboards;
  missing = facts.missing.dashboards ?? "";
}

export function choose(wanted) {
  if (wanted && known.some((each) => each.name === wanted)) name = wanted;
}

/** Draw, and go on while the part is shown. */
export async function draw(shown) {
  clearTimeout(timer);
  if (!shown()) return;
  if (!document.hidden) await once();
  timer = setTimeout(() => draw(shown), AGAIN_MS);
}

async function once() {
  if (missing) return $("dashboard").replaceChildren(away(missing));
  const own = ++asked;
  const parameters = new URLSearchParams({ seconds, ...Object.fromEntries(Object.entries(chosen).map(([key, value]) => [`var-${key}`, value])) });
  try {
    const found = await get(`/dashboards/${name}?${parameters}`);
    if (own !== asked) return;
    $("dashboard-title").textContent = found.title;
    choices(found.variables);
    show($("dashboard"), found, () => [
      found.description ? h("p", { class: "hint all" }, found.description) : null,
      ...found.panels.map((each) => (each.type === "row" ? h("h3", { class: "all" }, each.title) : panel(each, found))),
    ]);
  } catch (error) {
    if (own === asked) show($("dashboard"), error.message, () => away(error.message));
  }
}

function choices(variables) {
  show($("dashboard-choice"), [name, seconds, variables, known], () => [
    select("Dashboard", known.map((each) => [each.name, each.title]), name, (value) => { location.hash = `dashboards/${value}`; }),
    select("Last", RANGES, seconds, (value) => { seconds = Number(value); once(); }),
    ...variables.map((each) => select(each.label, each.options.map((option) => [option, option === "$__all" ? "All" : option]), each.value, (value) => { chosen = { ...chosen, [each.name]: value }; once(); })),
  ]);
}

function select(label, options, value, changed) {
  const key = `choice ${label}`;
  return h("label", {}, `${label} `, h("select", { "data-key": key, on: { change: (event) => changed(event.target.value) } }, options.map(([worth, text]) => h("option", { value: worth, selected: String(worth) === String(value) }, text))));
}
