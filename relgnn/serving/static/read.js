// Paste a text; the triples that it states are marked in place.

import { call, facts } from "./api.js";
import { address, el, fresh, percent, say, showing, without } from "./dom.js";
import { verdict } from "./verdict.js";

const EXAMPLE = "Ada Lovelace was born in London.";

export function reads(section) {
  const text = el("textarea", { id: fresh("text"), rows: "7", maxlength: "20000", required: true, placeholder: EXAMPLE });
  const least = el("input", { id: fresh("least"), type: "number", min: "0", max: "100", step: "1", placeholder: "the run's own" });
  const place = el("div");
  const form = el("form", { onsubmit: (event) => {
    event.preventDefault();
    showing(place, () => read(text.value, least.value));
  } },
  el("div", { class: "field" }, el("label", { for: text.id }, "Text"), text),
  el("div", { class: "query" },
    el("div", { class: "field" }, el("label", { for: least.id }, "Least probability, in percent"), least),
    el("button", { class: "main" }, "Read")));
  section.append(el("p", { class: "lead" }, "The text is read in memory and forgotten: it is neither stored nor logged."), form, place);
  facts("/v1/run").then((run) => {
    if (run.reads_texts) return;
    form.remove();
    place.replaceChildren(el("p", { class: "hint" }, "This run was trained without a loop, so that it reads no texts."));
  }, () => {});
  return () => {};
}

async function read(text, least) {
  const body = { text };
  if (least !== "") body.at_least = Number(least) / 100;
  const { triples, withheld } = await call("/v1/extract", { body });
  say(triples.length ? `${triples.length} triples found` : "no triple found");
  if (!triples.length && withheld) return without(withheld);
  if (!triples.length) return el("p", { class: "hint" }, "It states no triple between two entities of the graph that is likely enough.");
  const marks = marked(text, triples);
  const light = (index, on) => {
    for (const mark of marks.querySelectorAll("mark")) {
      mark.classList.toggle("lit", on && mark.dataset.triples.split(" ").includes(String(index)));
    }
  };
  return [el("h2", {}, "The text"), marks, el("h2", {}, "Its triples"),
    el("ol", { class: "ranked" }, triples.map((one, i) => item(one, i, light))), ...without(withheld)];
}

/** The text cut where a name begins or ends; spans count characters, which JavaScript's strings do not. */
function marked(text, triples) {
  const letters = Array.from(text);
  const spans = triples.flatMap((one, i) => [
    { span: one.head_span, name: one.head_name, i }, { span: one.tail_span, name: one.tail_name, i },
  ]).filter(({ span }) => span);
  const cuts = [...new Set([0, letters.length, ...spans.flatMap(({ span }) => span)])].sort((a, b) => a - b);
  const parts = cuts.slice(1).map((end, k) => {
    const written = letters.slice(cuts[k], end).join("");
    const here = spans.filter(({ span }) => span[0] <= cuts[k] && end <= span[1]);
    if (!here.length) return written;
    return el("mark", { "data-triples": [...new Set(here.map((one) => one.i))].join(" "), title: here[0].name }, written);
  });
  return el("p", { class: "text" }, parts);
}

function item(one, index, light) {
  const votes = Object.entries(one.votes).map(([name, p]) => `${name} ${percent(p)}`).join(", ");
  return el("li", { onmouseenter: () => light(index, true), onmouseleave: () => light(index, false),
    onfocusin: () => light(index, true), onfocusout: () => light(index, false) },
  el("div", { class: "line" },
    el("span", { class: "triple" },
      el("a", { href: address("explore", { entity: one.head }) }, one.head_name), ` – ${one.relation_name} → `,
      el("a", { href: address("explore", { entity: one.tail }) }, one.tail_name)),
    one.known && el("span", { class: "tag" }, "given"),
    el("span", { class: "number" }, percent(one.probability)), verdict(one)),
  el("p", { class: "hint" }, `views: ${votes}`));
}
