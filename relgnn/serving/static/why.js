// What speaks for a triple: views, sentences, paths with their rules; and a person's word on it.

import { call } from "./api.js";
import { el, percent } from "./dom.js";
import { verdict } from "./verdict.js";

const VIEWS = { text: "what was read", graph: "the graph", rules: "mined rules" };

/** The panel of a triple given by ids. */
export async function why(triple) {
  const told = await call("/v1/explain", { params: { ...triple, limit: 5 } });
  return [
    el("p", { class: "triple" }, told.head_name, " ", el("em", {}, `– ${told.relation_name} →`), " ", told.tail_name,
      told.known && el("span", { class: "tag" }, "given")),
    ...judged(told.judged),
    ...paths(told.paths),
    el("p", {}, verdict(told, told.verdict)),
  ];
}

function judged(found) {
  if (!found) return [el("p", { class: "hint" }, "The loop judged no sentence about this triple: it rests on the graph alone.")];
  const most = Math.max(1, ...found.views.map((one) => Math.abs(one.share ?? 0)));
  return [
    el("h3", {}, "Views"),
    el("p", { class: "hint" }, `The loop ${found.accepted ? "accepted" : "did not accept"} it at ${percent(found.posterior)}` +
      `${found.accepted && !found.learned ? ", but no round was better than none, and the model did not learn it" : ""}. ` +
      "Each view's own probability, and what it adds to the log odds:"),
    el("table", { class: "views" },
      el("thead", {}, el("tr", {}, ["view", "probability", "adds", ""].map((one) => el("th", { scope: "col" }, one)))),
      el("tbody", {}, found.views.map((one) => el("tr", {},
        el("th", { scope: "row" }, VIEWS[one.name] ?? one.name),
        el("td", { class: "number" }, one.probability === null ? "silent" : percent(one.probability)),
        el("td", { class: "number" }, signed(one.share)),
        el("td", {}, share(one.share, most)))))),
    ...(found.sentences.length ? [el("h3", {}, "Sentences"), sentences(found.sentences)] : []),
  ];
}

const signed = (share) => (share === null ? "–" : `${share < 0 ? "−" : "+"}${Math.abs(share).toFixed(2)}`);

/** A bar to the right of the middle for what speaks for the triple, to the left against it. */
function share(value, most) {
  const width = `${(50 * Math.abs(value ?? 0)) / most}%`;
  const side = (value ?? 0) < 0 ? { right: "50%" } : { left: "50%" };
  return el("span", { class: "share", "aria-hidden": "true" },
    el("span", { class: (value ?? 0) < 0 ? "against" : "for", style: { width, ...side } }));
}

/** Sentences that were read, each with its place in the corpus. */
export function sentences(found) {
  return el("ul", { class: "sentences" }, found.map((one) => el("li", { title: one.id },
    one.text === null ? el("span", { class: "hint" }, `${one.id}: its text is gone`) : `“${one.text}”`)));
}

function paths(found) {
  if (!found.length) return [el("p", { class: "hint" }, "No path of up to three known triples links both ends.")];
  return [
    el("h3", {}, "Paths"),
    el("ul", { class: "paths" }, found.map((one) => el("li", {},
      one.path, one.count > 1 && el("span", { class: "hint" }, ` and ${one.count - 1} more like it`),
      one.rule && el("div", { class: "hint" },
        `rule ${one.rule}: right in ${percent(one.confidence)}, ${one.support} times`)))),
  ];
}
