// What the run read and decided; accept or reject it.

import { call, facts } from "./api.js";
import { address, el, fresh, go, percent, say, showing } from "./dom.js";
import { picker } from "./picker.js";
import { relations } from "./query.js";
import { verdict } from "./verdict.js";
import { sentences } from "./why.js";

const PAGE = 20;
const FILTERS = ["decision", "verdict", "relation", "entity", "offset"];
const DECISIONS = { "": "any", accepted: "accepted", connected: "connected", told: "told", rejected: "rejected", revoked: "revoked" };
const VERDICTS = { "": "any or none", none: "none yet", accept: "accepted by a person", reject: "rejected by a person" };

export function browses(section) {
  const [decision, said] = [choice("Decision", DECISIONS), choice("Verdict", VERDICTS)];
  const relation = relations("Relation", "any");
  const entity = picker("Entity");
  const place = el("div");
  const form = el("form", { class: "query", onsubmit: (event) => {
    event.preventDefault();
    go(address("ledger", {
      decision: decision.select.value, verdict: said.select.value, relation: relation.select.value,
      entity: entity.value(), name: entity.value() && entity.input.value,
    }));
  } }, decision.element, said.element, relation.element, entity.element, el("button", { class: "main" }, "Filter"));
  section.append(
    el("p", { class: "lead" }, "What the last round read and decided, surest first. Your verdicts count from the next round on."),
    form, place);

  return async (params) => {
    decision.select.value = params.decision ?? "";
    said.select.value = params.verdict ?? "";
    entity.set(params.entity, params.name);
    relation.set(params.relation ?? "");
    const run = await facts("/v1/run").catch(() => null);
    if (run && !run.takes_feedback) {
      form.hidden = true;
      return place.replaceChildren(el("p", { class: "hint" }, "This run was trained without a loop, so that it has no ledger."));
    }
    const asked = Object.fromEntries(FILTERS.map((name) => [name, params[name]]));
    await showing(place, () => call("/v1/ledger", { params: { ...asked, limit: PAGE } }), (found) => shown(found, params));
  };
}

function choice(label, options) {
  const select = el("select", { id: fresh("choice") }, Object.entries(options).map(([value, text]) => el("option", { value }, text)));
  return { element: el("div", { class: "field" }, el("label", { for: select.id }, label), select), select };
}

function shown({ round, total, events }, params) {
  const from = Number(params.offset ?? 0);
  say(`round ${round}: ${total} entries`);
  const turn = (offset, text) => el("a", { href: address("ledger", { ...params, offset: offset || "" }) }, text);
  return [
    el("p", { class: "hint" }, events.length
      ? `Round ${round}: ${from + 1} to ${from + events.length} of ${total.toLocaleString("en")}` : `Round ${round}: none`),
    el("ol", { class: "ranked events", start: from + 1 }, events.map(item)),
    el("p", { class: "row pages" }, from > 0 && turn(Math.max(0, from - PAGE), "← before"),
      from + events.length < total && turn(from + PAGE, "next →")),
  ];
}

function item(one) {
  const votes = ["text", "graph", "rules"].filter((name) => one[`p_${name}`] !== null)
    .map((name) => `${name} ${percent(one[`p_${name}`])}`);
  const decided = [one.decision ?? "not judged", one.p !== null && percent(one.p), ...votes].filter(Boolean).join(" · ");
  return el("li", {},
    el("div", { class: "line" },
      el("span", { class: "triple" },
        el("a", { href: address("explore", { entity: one.head }) }, one.head_name), ` – ${one.relation_name} → `,
        el("a", { href: address("explore", { entity: one.tail }) }, one.tail_name)),
      verdict(one, one.verdict)),
    el("p", { class: "hint" }, el("span", { class: `tag ${one.decision ?? ""}` }, decided), one.reason ? ` ${one.reason}` : ""),
    one.sentences.length > 0 && el("details", {},
      el("summary", {}, one.sentences.length === 1 ? "1 sentence" : `${one.sentences.length} sentences`),
      sentences(one.sentences)));
}
