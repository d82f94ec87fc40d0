// The auditor, alerts and the log.

import { $, away, badge, clock, h, part, show, table } from "./dom.js";
import { deed } from "./api.js";

export function setUpBooks(facts) {
  $("audit").addEventListener("click", () => deed("POST", "/deeds/audit", {}, "The auditor reads the books."));
  const links = Object.entries(facts.links);
  show($("links"), links, () => h("ul", { class: "plain" }, links.map(([name, url]) =>
    h("li", {}, url ? h("a", { href: url, rel: "noreferrer" }, name) : h("span", { class: "hint" }, `${name} does not run here`)))));
}

export function drawBooks(view) {
  part($("verdict"), view.audit, ({ running, last }) => [
    running ? h("p", {}, badge("none", "at work")) : null,
    !last ? h("p", {}, "The books have not been read yet.") : last.away ? away(last.away) : verdict(last),
  ]);
  part($("alerts"), view.alerts, (alerts) => alerts.length
    ? h("ul", { class: "plain" }, alerts.map((each) => h("li", {}, badge(each.state === "firing" ? "bad" : "warn", each.state), h("strong", {}, each.name), h("span", {}, each.service), h("span", { class: "hint" }, each.summary))))
    : h("p", {}, "No alert is pending or firing."));
  part($("log"), view.log, (lines) => lines.length
    ? table(["at", "what", ""], lines.map((each) => h("tr", {}, h("td", {}, clock(each.at)), h("td", {}, badge(each.kind === "alert" ? "warn" : "none", each.kind)), h("td", {}, each.text))), "Log")
    : h("p", {}, "Nothing was done from here yet, and no alert came."));
}

function verdict(last) {
  return [
    h("p", { class: "row", id: "audit-verdict" }, last.clean ? badge("ok", "clean") : badge("bad", "broken"), `at ${clock(last.at)}`),
    h("ul", { class: "plain" }, last.invariants.map((each) => h("li", {}, badge(each.holds ? "ok" : "bad", each.holds ? "holds" : `${each.broken} broken`), h("span", {}, each.statement), h("span", { class: "hint" }, `${each.examined} examined`)))),
  ];
}
