// Two runs beside one another: how good they are, what they were told, what each answers.

import { call, facts } from "./api.js";
import { el, say, showing, without } from "./dom.js";
import { answerLine, queryForm } from "./query.js";

const MEASURES = { mrr: "MRR", hits_at_1: "Hits@1", hits_at_10: "Hits@10" };

export function compares(section) {
  const { form, read } = queryForm("compare", "Ask both");
  const [about, answers] = [el("div"), el("div")];
  section.append(about, answers);
  let ready;

  /** Whether there is another run; shows both, and the form. */
  async function begin() {
    const run = await facts("/v1/run");
    if (!run.compared_with) {
      about.append(el("p", { class: "hint" }, "Start the service with ", el("code", {}, "--compare OTHER"), " to see another run beside this one."));
      return false;
    }
    answers.before(el("h2", {}, "One question, both answers"), form);
    await showing(about, async () => facts("/v1/comparison").then(shown));
    return true;
  }

  return async (params) => {
    const asked = read(params);
    await showing(answers, async () => {
      ready ??= begin().catch((error) => {
        ready = undefined; // the next visit asks again
        throw error;
      });
      if (!(await ready) || !asked) return [];
      const [both, { here, there }] = await Promise.all([
        call("/v1/compare", { body: { ...asked, why: false } }), facts("/v1/comparison")]);
      const first = (answers) => answers[0]?.name ?? "nothing that may be shown";
      say(`${here.name} answers ${first(both.here)}, ${there.name} ${first(both.there)}`);
      return [el("div", { class: "beside even" }, column(here, both.here, both.there), column(there, both.there, both.here)), ...without(both.withheld)];
    });
  };
}

/** A run's answers, each with its place among the other run's. */
function column(run, own, other) {
  return el("div", {}, el("h3", {}, run.name), el("ol", { class: "ranked" }, own.map((one, i) => {
    const there = other.findIndex((two) => two.entity === one.entity);
    return el("li", {}, el("div", { class: "line" }, answerLine(one, i + 1),
      el("span", { class: "hint there" }, there < 0 ? "not there" : there === i ? "same place" : `#${there + 1} there`)));
  })));
}

function shown({ here, there, differences }) {
  const other = new Map(there.measures.map((one) => [`${one.split} ${one.stratum}`, one]));
  const names = Object.keys(MEASURES);
  const head = el("thead", {},
    el("tr", {}, el("td"), names.map((one) => el("th", { scope: "colgroup", colspan: "3" }, MEASURES[one]))),
    el("tr", {}, el("th", { scope: "col" }, "queries"), names.map(() => [here.name, there.name, "difference"].map((one) => el("th", { scope: "col" }, one)))));
  const rows = here.measures.map((one) => {
    const two = other.get(`${one.split} ${one.stratum}`);
    return el("tr", {}, el("th", { scope: "row" }, `${one.split}, ${one.stratum} `, el("span", { class: "hint" }, String(one.queries))),
      names.map((name) => cells(one[name], two?.[name])));
  });
  return [
    el("p", { class: "lead" }, el("strong", {}, here.name), ` (${here.graph}) beside `, el("strong", {}, there.name), ` (${there.graph})`),
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Measures of both runs" },
      el("table", { class: "measures" }, el("caption", {}, "Realistic ranks over heads and tails, by split and stratum"), head, el("tbody", {}, rows))),
    el("h2", {}, "Told differently"),
    differences.length ? el("table", { class: "differences" },
      el("thead", {}, el("tr", {}, ["key", here.name, there.name].map((one) => el("th", { scope: "col" }, one)))),
      el("tbody", {}, differences.map((one) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, one.key)),
        el("td", {}, one.here ?? "–"), el("td", {}, one.there ?? "–")))))
      : el("p", { class: "hint" }, "Nothing: both have the same configuration."),
  ];
}

function cells(own, other) {
  const number = (x) => (x === undefined ? "–" : x.toFixed(3));
  const gap = other === undefined ? null : own - other;
  const sign = gap === null ? "" : gap > 0.0005 ? "better" : gap < -0.0005 ? "worse" : "";
  return [el("td", { class: "number" }, number(own)), el("td", { class: "number" }, number(other)),
    el("td", { class: `number ${sign}` }, gap === null ? "–" : `${gap < 0 ? "−" : "+"}${Math.abs(gap).toFixed(3)}`)];
}
