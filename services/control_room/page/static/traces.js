// Recent traces, and one of them as a waterfall with the resilience events on it.

import { $, away, badge, clock, duration, h, table } from "./dom.js";
import { get } from "./api.js";

export async function look() {
  const parameters = new URLSearchParams({ failed: $("trace-failed").checked, slower_ms: Number($("trace-slower").value) || 0 });
  try {
    const listed = await get(`/traces?${parameters}`);
    $("traces").replaceChildren(listed.length ? list(listed) : away("No such trace is kept. Place an order; a trace takes two seconds to be decided about."));
  } catch (error) {
    $("traces").replaceChildren(away(error.message));
  }
}

function list(listed) {
  const longest = Math.max(...listed.map((each) => each.duration));
  return table(["began", "what", "took", "", "spans", "events", "outcome"], listed.map((each) =>
    h("tr", { "data-trace": each.id },
      h("td", {}, clock(each.start / 1e6)),
      h("td", {}, h("button", { type: "button", class: "link", on: { click: () => open(each.id) } }, each.name), h("span", { class: "hint" }, ` ${each.services.join(", ")}`)),
      h("td", { class: "number" }, duration(each.duration / 1e6)),
      h("td", { class: "bar" }, h("div", { style: { width: `${Math.max(1, (100 * each.duration) / longest)}%` } })),
      h("td", { class: "number" }, each.spans), h("td", { class: "number" }, each.events),
      h("td", {}, each.errors ? badge("bad", `${each.errors} errors`) : badge("ok", each.status ?? "ok")))), "Recent traces");
}

export async function open(id) {
  try {
    $("trace").replaceChildren(waterfall(await get(`/traces/${id}`)));
    $("trace").querySelector("h3").focus();
  } catch (error) {
    $("trace").replaceChildren(away(error.message));
  }
}

function waterfall(trace) {
  const total = Math.max(1, trace.total);
  const services = [...new Set(trace.rows.map((row) => row.service))];
  return h("div", { class: "waterfall" },
    h("h3", { tabindex: "-1" }, `${trace.name}, ${duration(trace.duration / 1e6)}`),
    h("p", { class: "hint" }, `Trace ${trace.id}. ${trace.rows.length} spans${trace.left_out ? `, ${trace.left_out} left out` : ""}. Diamonds are events. `),
    h("ol", { class: "plain spans" }, trace.rows.map((row) => span(row, total, services))));
}

function span(row, total, services) {
  const percent = (offset) => `${Math.min(99.5, Math.max(0, (100 * offset) / total))}%`;
  const tags = Object.entries(row.tags).map(([name, value]) => `${name}=${value}`).join("  ");
  const events = row.events.map((event) => event.event);
  return h("li", { class: row.error ? "span error" : "span", "data-span": row.name },
    h("details", {},
      h("summary", {},
        h("span", { class: "label", style: { "padding-inline-start": `${Math.min(row.depth, 12) * 0.9}rem` } },
          h("span", { class: `service s${services.indexOf(row.service) % 6}` }, row.service), h("span", {}, row.name)),
        h("span", { class: "lane" },
          h("span", { class: `bar s${services.indexOf(row.service) % 6}`, style: { left: percent(row.offset), width: `max(2px, ${percent(row.duration)})` } }),
          row.events.map((event) => h("span", { class: "event", title: event.event, style: { left: percent(event.offset) } }, "◆"))),
        h("span", { class: "took" }, duration(row.duration / 1e6), row.error ? badge("bad", "error") : null, events.length ? badge("none", events.length === 1 ? "1 event" : `${events.length} events`) : null)),
      h("p", { class: "hint" }, tags || "no further attributes"),
      events.length ? h("ul", { class: "plain" }, row.events.map((event) => h("li", { "data-event": event.event },
        h("time", {}, `+${duration(event.offset / 1e6)}`), h("strong", {}, event.event),
        h("span", { class: "hint" }, Object.entries(event).filter(([name]) => !["event", "offset"].includes(name)).map(([name, value]) => `${name} ${value}`).join(", "))))) : null));
}

export function setUpTraces() {
  $("trace-search").addEventListener("submit", (event) => {
    event.preventDefault();
    look();
  });
}
