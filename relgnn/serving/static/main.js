// Which view is shown, by the part of the address after #; light or dark.

import { facts, showKey } from "./api.js";
import { el } from "./dom.js";
import { asks } from "./ask.js";
import { compares } from "./compare.js";
import { explores } from "./explore.js";
import { browses } from "./ledger.js";
import { reads } from "./read.js";

const VIEWS = { explore: explores, ask: asks, read: reads, ledger: browses, compare: compares };
const TITLES = {
  explore: "Explore the graph", ask: "Ask a question", read: "Read a text",
  ledger: "The ledger", compare: "Compare two runs",
};
const made = new Map();

/** Show the view that the address names; `moved`: the reader's place goes with it. */
function route(moved) {
  if (location.hash && !location.hash.startsWith("#/")) return; // the link to the content
  const [path, query] = location.hash.slice(2).split("?");
  const name = Object.hasOwn(VIEWS, path) ? path : "explore";
  const main = document.getElementById("main");
  if (!made.has(name)) {
    const title = el("h1", { tabindex: "-1" }, TITLES[name]);
    const section = el("section", { "data-view": name }, title);
    made.set(name, { section, title, update: VIEWS[name](section) });
    main.append(section);
  }
  const other = !made.get(name).section.classList.contains("shown");
  for (const [one, { section }] of made) {
    section.hidden = one !== name;
    section.classList.toggle("shown", one === name);
  }
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[name]} – relgnn`;
  if (moved && other) {
    made.get(name).title.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  made.get(name).update(Object.fromEntries(new URLSearchParams(query ?? "")));
}

const THEME = "relgnn-theme";

function dark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

/** The switch goes to the other one; until it is used the system's preference holds. */
function themes() {
  const button = document.getElementById("theme");
  const shown = () => {
    button.setAttribute("aria-pressed", String(dark()));
    dispatchEvent(new Event("theme"));
  };
  const chosen = localStorage.getItem(THEME);
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  button.addEventListener("click", () => {
    const next = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    localStorage.setItem(THEME, next);
    shown();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", shown);
  shown();
}

async function about() {
  const run = await facts("/v1/run");
  const count = (n) => n.toLocaleString("en");
  document.getElementById("facts").textContent =
    `${run.name} · ${run.graph}: ${count(run.entities)} entities, ${count(run.triples)} triples`;
}

themes();
showKey();
route(false);
addEventListener("hashchange", () => route(true));
about().catch(() => {}); // whatever is wrong, the view tells it
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the view, and keeps it
  document.getElementById("main").focus();
});
