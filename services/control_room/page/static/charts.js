// The panels of Grafana's dashboards in plain SVG: lines, numbers, states, bars, tables.

import { away, h, s, table as grid } from "./dom.js";

const W = 600, H = 190, LEFT = 58, BOTTOM = 22, TOP = 8;
const COLOURS = 8;

/** A number in one of Grafana's units. */
export function worded(value, unit) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const short = (number) => {
    for (const [size, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(number) >= size) return `${trimmed(number / size)} ${letter}`;
    return trimmed(number);
  };
  switch (unit) {
    case "percentunit": return `${trimmed(value * 100)} %`;
    case "percent": return `${trimmed(value)} %`;
    case "s": return Math.abs(value) < 1 && value !== 0 ? (Math.abs(value) < 0.001 ? `${trimmed(value * 1e6)} µs` : `${trimmed(value * 1e3)} ms`) : `${trimmed(value)} s`;
    case "reqps": case "ops": return `${short(value)}/s`;
    case "bytes": return `${short(value)}B`;
    default: return short(value);
  }
}

const trimmed = (number) => Number(number.toPrecision(3)).toString();
const last = (series) => series.points.findLast(([, value]) => value !== null)?.[1];

function mapped(value, panel) {
  const word = value === undefined ? null : panel.words[Number(value.toPrecision(6)).toString()];
  const steps = panel.steps.filter((step) => step.value === null || (value !== undefined && value >= step.value));
  return { text: word?.text ?? worded(value, panel.unit), colour: hue(word?.color || steps.at(-1)?.color) };
}

const hue = (colour) => (["green", "yellow", "orange", "red", "purple"].includes(colour) ? colour : "grey");

export function panel(given, span) {
  const draw = { timeseries: lines, stat: numbers, "state-timeline": states, bargauge: bars, table }[given.type];
  const empty = given.type !== "table" && !given.series?.length;
  const body = given.away ? away(given.away) : !draw ? away(`a panel of the kind ${given.type} is not drawn here`) : empty ? away("no data") : draw(given, span);
  return h("article", { class: "chart", "data-panel": given.title, style: { "grid-column": `span ${given.grid.w}` } },
    h("h3", { title: given.description }, given.title), body);
}

function lines(given, span) {
  const series = given.stacked ? stacked(given.series) : given.series;
  const values = series.flatMap((each) => each.points.map(([, value]) => value)).filter((value) => value !== null);
  const low = Math.min(0, ...values), high = nice(Math.max(...values) || 1);
  const x = (at) => LEFT + ((at - span.start) / (span.end - span.start)) * (W - LEFT - 6);
  const y = (value) => TOP + (1 - (value - low) / (high - low)) * (H - TOP - BOTTOM);
  const ticks = [low, low + (high - low) / 2, high];
  return [
    s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": `${given.title}: ${given.series.slice(0, 6).map((each) => `${each.name} ${worded(last(each), given.unit)}`).join(", ")}` },
      ticks.map((tick) => [s("line", { class: "rule", x1: LEFT, x2: W - 6, y1: y(tick), y2: y(tick) }), s("text", { class: "tick", x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, worded(tick, given.unit))]),
      [0, 0.5, 1].map((part) => s("text", { class: "tick", x: LEFT + part * (W - LEFT - 6), y: H - 4, "text-anchor": ["start", "middle", "end"][part * 2] }, new Date((span.start + part * (span.end - span.start)) * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false }))),
      given.steps.filter((step) => step.value !== null && step.value > low && step.value < high).map((step) => s("line", { class: `limit ${hue(step.color)}`, x1: LEFT, x2: W - 6, y1: y(step.value), y2: y(step.value) })),
      series.map((each, position) => s("path", { class: `line c${position % COLOURS}`, d: path(each.points, x, y, span) }))),
    h("ul", { class: "legend" }, given.series.slice(0, 12).map((each, position) => h("li", {}, h("span", { class: `dot c${position % COLOURS}`, "aria-hidden": "true" }), `${each.name} `, h("strong", {}, mapped(last(each), given).text)))),
  ];
}

function path(points, x, y, span) {
  const gap = ((span.end - span.start) / 60) * 2.5;
  let drawn = "", before = null;
  for (const [at, value] of points) {
    if (value === null) { before = null; continue; }
    drawn += `${before !== null && at - before < gap ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    before = at;
  }
  return drawn;
}

function stacked(series) {
  const sums = new Map();
  return series.map((each) => ({ ...each, points: each.points.map(([at, value]) => { sums.set(at, (sums.get(at) ?? 0) + (value ?? 0)); return [at, sums.get(at)]; }) }));
}

function nice(value) {
  const size = 10 ** Math.floor(Math.log10(value || 1));
  return [1, 2, 2.5, 5, 10].map((step) => step * size).find((step) => step >= value) ?? value;
}

function numbers(given) {
  return h("div", { class: "numbers" }, given.series.slice(0, 6).map((each) => {
    const { text, colour } = mapped(last(each), given);
    return h("p", {}, h("strong", { class: `big ${colour}` }, text), given.series.length > 1 ? h("span", { class: "hint" }, each.name) : null);
  }));
}

function states(given, span) {
  const shown = given.series.slice(0, 10);
  const height = shown.length * 26 + 4;
  const x = (at) => ((at - span.start) / (span.end - span.start)) * W;
  return [
    s("svg", { viewBox: `0 0 ${W} ${height}`, role: "img", "aria-label": shown.map((each) => `${each.name}: ${mapped(last(each), given).text}`).join(", ") },
      shown.map((each, row) => stretches(each.points, span).map(([from, to, value]) => s("rect", { class: `state ${mapped(value, given).colour}`, x: x(from), y: row * 26 + 2, width: Math.max(1, x(to) - x(from)), height: 22 }, s("title", {}, `${each.name}: ${mapped(value, given).text}`))))),
    h("ul", { class: "legend" }, shown.map((each) => h("li", {}, `${each.name} `, h("strong", {}, mapped(last(each), given).text)))),
  ];
}

function stretches(points, span) {
  const found = [];
  points.forEach(([at, value], position) => {
    const until = points[position + 1]?.[0] ?? span.end;
    if (value === null) return;
    if (found.length && found.at(-1)[2] === value && found.at(-1)[1] === at) found.at(-1)[1] = until;
    else found.push([at, until, value]);
  });
  return found;
}

function bars(given) {
  const most = Math.max(...given.series.map((each) => last(each) ?? 0), 1e-9);
  return h("ul", { class: "plain gauges" }, given.series.slice(0, 12).map((each) => {
    const value = last(each), { text, colour } = mapped(value, given);
    return h("li", {}, h("span", {}, each.name), h("span", { class: "gauge" }, h("span", { class: `fill ${colour}`, style: { width: `${(100 * (value ?? 0)) / most}%` } })), h("strong", {}, text));
  }));
}

function table(given) {
  if (!given.rows?.length) return away("no data");
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": given.title }, grid(given.columns.map((column) => column.title), given.rows.map((row) => h("tr", {}, given.columns.map((column) => cell(row[column.key], column)))), given.title));
}

function cell(value, column) {
  if (typeof value !== "number") return h("td", {}, value ?? "–");
  const { text, colour } = mapped(value, column);
  return h("td", { class: `number ${column.steps.length > 1 || Object.keys(column.words).length ? colour : ""}` }, text);
}
