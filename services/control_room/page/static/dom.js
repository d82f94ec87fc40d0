// Making elements, and replacing them only when what they show has changed: so that focus and selection stay.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element: `h("td", {class: "number"}, "12")`. `on` holds listeners; null children are left out. */
export function h(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same in SVG. */
export function s(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "style") for (const [key, worth] of Object.entries(value)) element.style.setProperty(key, worth);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const shown = new WeakMap();

/** Fill `element` with what `draw()` makes, unless `what` is as it was. */
export function show(element, what, draw) {
  const text = JSON.stringify(what);
  if (shown.get(element) === text) return;
  shown.set(element, text);
  const key = element.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  const top = element.scrollTop;
  const opened = [...element.querySelectorAll("details[open] > summary[data-key]")].map((each) => each.dataset.key);
  element.replaceChildren(...[draw()].flat(Infinity).filter((child) => child !== null && child !== undefined));
  element.scrollTop = top;
  for (const each of element.querySelectorAll("summary[data-key]")) each.parentElement.open = opened.includes(each.dataset.key);
  if (key) element.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus();
}

/** What is missing, said in words. */
export const away = (reason) => h("p", { class: "away" }, reason);

/** A part of the view, or why it is missing. */
export function part(element, given, draw) {
  if (given === undefined) return show(element, "login", () => h("p", { class: "hint" }, "Log in to see this."));
  show(element, given, () => (given.away ? away(given.away) : draw(given.value)));
}

export function table(heads, rows, caption) {
  return h(
    "table",
    {},
    h("caption", { class: "unseen" }, caption),
    h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, rows),
  );
}

export const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

export const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });

/** Seconds for people: 0.0123 is 12 ms. */
export function duration(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return "–";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  return `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
}
