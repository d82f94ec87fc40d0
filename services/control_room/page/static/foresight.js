// What is predicted and why, what waits for a person's word, and what remediation did.

import { $, badge, clock, h, part, table } from "./dom.js";
import { deed } from "./api.js";

const STATES = { warning: "bad", quiet: "ok", unknown: "none" };
const MODES = { shadow: "none", approve: "ok", auto: "warn" };
const percent = (share) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

export function drawForesight(view) {
  part($("predictions"), view.predictions, (found) =>
    table(["service", "says", "probability", "why"], found.map(prediction), "Predictions"));
  part($("model"), view.model, model);
  const remediation = view.remediation;
  part($("approvals"), remediation && { away: remediation.away, value: remediation.value?.approvals }, (questions) => questions.length
    ? h("ul", { class: "plain" }, questions.map(question))
    : h("p", {}, "Nothing waits for a person's word."));
  part($("remediation"), remediation && { away: remediation.away, value: { ...remediation.value, approvals: null, audit: null } }, standing);
  part($("remediation-log"), remediation && { away: remediation.away, value: remediation.value?.audit }, (records) => records.length
    ? table(["at", "service", "what", "why", "came of it"], records.map(line), "Log of remediation")
    : h("p", {}, "Nothing was decided yet."));
}

function prediction(each) {
  const words = each.state === "unknown" ? [each.why] : each.reasons.map((reason) => reason.words);
  return h("tr", { "data-prediction": each.service },
    h("td", {}, h("strong", {}, each.service), " ", each.at ? h("time", {}, clock(Date.parse(each.at) / 1000)) : null),
    h("td", {}, badge(STATES[each.state] ?? "none", each.state)),
    h("td", { class: "number" }, each.probability === null ? "–" : percent(each.probability), h("div", { class: "hint" }, `warns from ${percent(each.threshold)}`)),
    h("td", {}, words.length ? words.map((text) => h("div", {}, text)) : "nothing moves", each.missing.length ? h("div", { class: "hint" }, `no numbers: ${each.missing.join(", ")}`) : null));
}

function model(told) {
  const figures = Object.entries(told.figures).map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`);
  const error = told.calibration_error;
  return [
    h("p", {}, h("strong", {}, told.name), ` ${told.sha256.slice(0, 12)}, of ${told.created.slice(0, 10)}; ${told.features} features; a warning is ${told.persistence[0]} of ${told.persistence[1]} minutes from ${percent(told.threshold)}.`),
    figures.length ? h("p", { class: "hint" }, `When it was made: ${figures.join(", ")}.`) : null,
    h("p", {}, error === null ? "Calibration here: not known before a hundred judged minutes." : `Calibration here: off by ${percent(error)}.`),
    told.drift.length
      ? h("ul", { class: "plain" }, told.drift.map((each) => h("li", {}, badge(each.index > 0.25 ? "warn" : "ok", each.index > 0.25 ? "drifted" : "as trained"), h("span", {}, each.feature.replaceAll("_", " ")), h("span", { class: "hint" }, `index ${each.index}`))))
      : h("p", { class: "hint" }, "Drift: not known before 300 predictions."),
  ];
}

function question(each) {
  const say = (decision, done) => () => deed("POST", `/deeds/approvals/${each.id}`, { decision }, done);
  const lever = (text, decision, done) => h("button", { type: "button", class: "lever", "data-key": `${each.id} ${decision}`, "data-decision": decision, "aria-label": `${text}: ${each.action}`, on: { click: say(decision, done) } }, text);
  return h("li", { "data-approval": each.service },
    h("div", { class: "column" },
      h("strong", {}, each.action),
      h("span", {}, each.cause),
      each.reasons.map((words) => h("span", { class: "hint" }, words)),
      each.state === "waiting"
        ? h("div", { class: "row" },
          lever("Approve", "approve", `Approved: ${each.action}. It is done at the next minute, if it may be done still.`),
          lever("Refuse", "deny", `Refused: ${each.action}.`),
          h("span", { class: "hint" }, `withdrawn at ${clock(each.expires)}`))
        : h("p", { class: "row" }, badge("ok", each.state), h("span", { class: "hint" }, `by ${each.by}; below is what came of it`))));
}

function standing(told) {
  const why = told.kill_switch ? "The kill switch is thrown." : told.policy_error || "The policy's own kill switch is thrown.";
  const flip = () => deed("PUT", "/deeds/kill-switch", { thrown: !told.kill_switch }, told.kill_switch ? "The kill switch is taken back." : "The kill switch is thrown: nothing is done any more.");
  return [
    h("p", { class: "row" }, "Mode", badge(MODES[told.mode] ?? "none", told.mode), told.stopped ? [badge("bad", "stopped"), h("span", {}, why)] : null),
    h("p", { class: "hint" }, { shadow: "It says what it would do, and does nothing.", approve: "Each action waits for a person.", auto: "It scales out by itself; everything else waits for a person." }[told.mode]),
    h("button", { type: "button", role: "switch", class: "lever", id: "kill-switch", "data-key": "kill-switch", "aria-checked": told.kill_switch ? "true" : "false", on: { click: flip } },
      "Kill switch: ", h("strong", {}, told.kill_switch ? "thrown" : "not thrown")),
    h("ul", { class: "plain" }, told.decisions.map((each) => h("li", {}, h("strong", {}, each.service), h("span", {}, each.reason)))),
  ];
}

function line(each) {
  const outcome = each.control ? "held out as control" : each.outcome || (each.stage === "decided" ? "left alone" : each.stage);
  const told = [each.detail, each.verification && `${each.verification}: ${each.verified}`, each.rollback && `undone: ${each.rollback} ${each.rolled_back}`];
  const kind = each.rollback === "done" ? "warn" : each.outcome === "done" ? "ok" : "none";
  return h("tr", { "data-record": each.service },
    h("td", {}, clock(each.at)),
    h("td", {}, each.service),
    h("td", {}, each.action ?? "nothing"),
    h("td", {}, each.cause, h("div", { class: "hint" }, [each.reason !== "approved" && each.reason, each.approved_by && `approved by ${each.approved_by}`].filter(Boolean).join("; "))),
    h("td", {}, badge(kind, outcome), told.filter(Boolean).map((text) => h("div", { class: "hint" }, text))));
}
