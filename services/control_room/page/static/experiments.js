// Experiments: start, stop, and what came of them.

import { $, away, badge, clock, h, part, show, table } from "./dom.js";
import { deed } from "./api.js";

const KINDS = { PASS: "ok", FAIL: "bad", ABORTED: "warn", INCONCLUSIVE: "none" };

export function setUpExperiments(facts) {
  const scenarios = Object.fromEntries(facts.scenarios.map((each) => [each.name, each]));
  $("scenario").replaceChildren(...facts.scenarios.map((each) => h("option", { value: each.name }, each.name)));
  const tell = () => {
    const chosen = scenarios[$("scenario").value];
    show($("scenario-text"), chosen ?? facts.missing.scenarios ?? "", () => chosen
      ? [h("p", {}, h("strong", {}, `${chosen.title}. `), chosen.description), h("p", {}, `Expected: ${chosen.expected}`), h("p", {}, `Steady state: ${chosen.steady.join("; ")}.`)]
      : away(facts.missing.scenarios ?? "There are no scenarios."));
  };
  if (scenarios["payment-down"]) $("scenario").value = "payment-down";
  $("scenario").addEventListener("change", tell);
  tell();
  $("experiment").addEventListener("submit", (event) => {
    event.preventDefault();
    const scenario = $("scenario").value;
    deed("POST", "/deeds/experiments", { scenario }, `${scenario}: begun. Its load starts, then the warm-up, then the fault.`);
  });
  $("stop-experiment").addEventListener("click", () => deed("DELETE", "/deeds/experiments", undefined, "Being stopped; every fault ends."));
}

export function drawExperiments(view) {
  const since = view.experiments.value?.running?.since;
  part($("running"), { ...view.experiments, seconds: since ? Math.round(view.at - since) : 0 }, (found) => {
    if (found.running) return h("p", { class: "row" }, badge("warn", "runs"), h("strong", {}, found.running.scenario), ` for ${Math.max(0, Math.round(view.at - found.running.since))} s`, found.stopping ? badge("none", "being stopped") : null);
    if (found.starting) return h("p", { class: "row" }, badge("none", "starting"));
    return [h("p", {}, "No experiment runs."), found.said ? h("pre", { class: "away" }, found.said) : null];
  });
  part($("verdicts"), { away: view.experiments.away, value: view.experiments.value?.verdicts }, (verdicts) => verdicts.length
    ? table(["ended", "scenario", "verdict", "reason", "timeline"], verdicts.map((each) =>
      h("tr", {}, h("td", {}, clock(each.ended)), h("td", {}, each.scenario), h("td", {}, badge(KINDS[each.verdict] ?? "none", each.verdict)), h("td", {}, each.reason),
        h("td", {}, h("details", {}, h("summary", { "data-key": each.run }, `${each.timeline.length} moments`),
          h("ul", { class: "plain" }, each.timeline.map((moment) => h("li", {}, h("time", {}, clock(moment.at)), h("span", {}, `${moment.kind}: ${moment.text}`)))))))), "Verdicts")
    : h("p", {}, "No experiment has ended yet."));
}
