// The page: which part is shown, who is logged in, and a view of the platform a second.

import { $ } from "./dom.js";
import { Refused, get, say, send, watch } from "./api.js";
import { drawReplicas, drawTopology } from "./topology.js";
import { drawOrders, setUpOrders } from "./orders.js";
import { drawLevers, setUpLevers } from "./levers.js";
import { drawExperiments, setUpExperiments } from "./experiments.js";
import { drawResilience } from "./resilience.js";
import { look, setUpTraces } from "./traces.js";
import * as dashboards from "./dashboards.js";
import { drawBooks, setUpBooks } from "./books.js";
import { drawForesight } from "./foresight.js";

const VIEWS = ["overview", "break", "resilience", "traces", "dashboards", "predict", "books"];
const drawings = [drawTopology, drawReplicas, drawOrders, drawLevers, drawExperiments, drawResilience, drawForesight, drawBooks];
let shown = "overview";

function go() {
  const [wanted, detail] = location.hash.slice(1).split("/");
  shown = VIEWS.includes(wanted) ? wanted : shown;
  for (const name of VIEWS) $(`view-${name}`).hidden = name !== shown;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${shown}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (shown === "traces") look();
  if (shown === "dashboards") {
    dashboards.choose(detail);
    dashboards.draw(() => shown === "dashboards");
  }
}

function draw(view) {
  document.body.classList.toggle("operator", view.operator);
  $("login").textContent = view.operator ? "Log out" : "Log in";
  for (const each of drawings) each(view);
  for (const lever of document.querySelectorAll(".lever")) lever.disabled = !view.operator;
  const pulse = $("pulse");
  pulse.textContent = `live ${new Date(view.at * 1000).toLocaleTimeString([], { hour12: false })}`;
  pulse.classList.remove("lost");
}

function lost() {
  $("pulse").textContent = "the page's process does not answer";
  $("pulse").classList.add("lost");
}

async function logIn(body) {
  await send("POST", "/session", body);
  say("You are logged in: the levers are yours.");
}

function setUpLogin() {
  const dialog = $("login-dialog");
  $("login").addEventListener("click", async () => {
    if (document.body.classList.contains("operator")) {
      await send("DELETE", "/session");
      say("You are logged out.");
    } else dialog.showModal();
  });
  $("login-cancel").addEventListener("click", () => dialog.close());
  $("login-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await logIn({ token: $("token").value.trim() });
      $("token").value = "";
      $("login-said").textContent = "";
      dialog.close();
    } catch (error) {
      $("login-said").textContent = error instanceof Refused ? error.message : "The page's process does not answer.";
    }
  });
}

async function redeem() {
  const code = /^#login=([\w-]+)$/.exec(location.hash)?.[1];
  if (!code) return;
  history.replaceState(null, "", "#overview"); // the code is used up, and has no business in the history
  await logIn({ code }).catch((error) => say(`${error.message}. For another link: make room`, true));
}

function setUpTheme() {
  const stored = localStorage.getItem("theme");
  const dark = stored ? stored === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem("theme", next);
  });
}

async function facts() {
  for (;;) {
    try {
      return await get("/facts");
    } catch {
      lost();
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  }
}

setUpTheme();
setUpLogin();
setUpOrders();
setUpTraces();
await redeem();
const told = await facts();
$("login-how").textContent = told.login;
for (const setUp of [setUpLevers, setUpExperiments, setUpBooks, dashboards.setUpDashboards]) setUp(told);
addEventListener("hashchange", go);
go();
watch(draw, lost);
