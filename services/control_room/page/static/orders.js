// Orders as they move through their states.

import { $, badge, clock, h, part, table } from "./dom.js";
import { deed, get, say } from "./api.js";

const KINDS = { CONFIRMED: "ok", PENDING_PAYMENT: "warn", CANCELLING: "warn", RESERVING: "none", CHARGING: "none", CONFIRMING: "none" };
const kind = (state) => KINDS[state] ?? "bad";
const words = (state) => state.toLowerCase().replace("_", " ");
let followed = null;

export function drawOrders(view) {
  part($("order-counts"), view.numbers, (numbers) => {
    const ended = (numbers.ended ?? []).filter((row) => row.value > 0);
    const under = (numbers.under_way ?? []).filter((row) => row.value > 0);
    const count = (row) => badge(kind(row.labels.state), `${words(row.labels.state)} ${row.value.toFixed(0)}`);
    const queue = (numbers.outbox ?? []).map((row) => row.value).reduce((one, other) => one + other, 0);
    return [
      h("p", { class: "row" }, "Under way: ", under.length ? under.map(count) : "none", queue ? badge("warn", `${queue} in the outbox`) : null),
      h("p", { class: "row" }, "Ended: ", ended.length ? ended.map(count) : "none yet"),
    ];
  });
  part($("orders"), view.orders, (orders) => orders.length
    ? table(["order", "placed", "amount", "state"], orders.map(row), "Newest orders")
    : h("p", {}, "No order has been placed yet."));
  if (followed) follow(followed, true);
}

function row(order) {
  const look = () => follow(order.id, false);
  const amount = `${(order.total_amount / 100).toFixed(2)} ${order.currency}`;
  return h("tr", { "data-order": order.id, "data-state": order.state },
    h("td", {}, h("button", { type: "button", class: "link", "data-key": order.id, on: { click: look } }, `…${order.id.slice(-8)}`)),
    h("td", {}, clock(Date.parse(order.created_at) / 1000)), h("td", { class: "number" }, amount),
    h("td", {}, badge(kind(order.state), words(order.state))));
}

/** Show an order's steps, and go on showing them until it has ended. */
async function follow(id, quietly) {
  if (!quietly) followed = id;
  try {
    const order = await get(`/orders/${id}`);
    if (followed !== id) return;
    part($("order"), { away: "", value: order }, () => [
      h("h3", {}, `Order …${id.slice(-8)}`),
      h("ol", { class: "steps" }, order.history.map((step) =>
        h("li", { "data-step": step.state }, badge(kind(step.state), words(step.state)), h("time", {}, new Date(step.at).toISOString().slice(11, 23)), h("span", { class: "hint" }, step.detail)))),
    ]);
    if (["CONFIRMED", "CANCELLED", "DECLINED", "REJECTED", "FAILED"].includes(order.state)) followed = null;
  } catch (error) {
    if (!quietly) say(`The order cannot be shown: ${error.message}`, true);
  }
}

export function setUpOrders() {
  $("place").addEventListener("submit", async (event) => {
    event.preventDefault();
    const orders = Number(event.submitter?.value ?? 1);
    const card = $("declined").checked ? "declined" : "good";
    const answer = await deed("POST", "/deeds/orders", { orders, card }, orders === 1 ? "An order was placed." : `${orders} orders are on their way.`);
    if (!answer || orders > 1) return;
    say(`${answer.status}: ${answer.said}`, answer.status >= 500);
    if (answer.id) follow(answer.id, false);
  });
}
