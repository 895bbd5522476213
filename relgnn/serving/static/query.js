// The form of an open query, and its answers; asking and comparing share it.

import { facts } from "./api.js";
import { address, bar, el, fresh, go, percent } from "./dom.js";
import { picker } from "./picker.js";

/** A choice of relations, of which the first says that none is chosen. */
export function relations(label, none) {
  const id = fresh("relation");
  const select = el("select", { id }, el("option", { value: "" }, none));
  let wanted = "";
  const set = (relation) => { wanted = select.value = relation; };
  const ready = facts("/v1/relations").then(({ relations: all }) => {
    const sorted = [...all].sort((a, b) => a.name.localeCompare(b.name));
    select.append(...sorted.map((one) => el("option", { value: one.id }, one.name)));
    if (wanted) select.value = wanted;
  });
  ready.catch(() => {}); // what is asked next tells it
  return { element: el("div", { class: "field" }, el("label", { for: id }, label), select), select, set };
}

/** The form; asking goes to the view's address with what was chosen. */
export function queryForm(view, verb) {
  const entity = picker("Entity");
  const relation = relations("Relation", "choose a relation");
  const side = el("select", { id: fresh("side") },
    el("option", { value: "head" }, "entity → relation → ?"),
    el("option", { value: "tail" }, "? → relation → entity"));
  const problem = el("p", { class: "error", role: "alert" });
  const form = el("form", { class: "query", onsubmit: (event) => {
    event.preventDefault();
    const chosen = { [side.value]: entity.value(), relation: relation.select.value };
    const missing = !entity.value() ? [entity.input, "name an entity"] : !chosen.relation && [relation.select, "choose a relation"];
    problem.textContent = missing ? missing[1] : "";
    if (missing) return missing[0].focus();
    go(address(view, { ...chosen, name: entity.input.value }));
  } },
  entity.element, relation.element,
  el("div", { class: "field" }, el("label", { for: side.id }, "What is asked for"), side),
  el("button", { class: "main" }, verb), problem);

  /** Take over what an address says; null where it asks nothing. */
  function read(params) {
    const backward = Boolean(params.tail);
    const known = params.tail || params.head;
    side.value = backward ? "tail" : "head";
    if (known) entity.set(known, params.name || known);
    if (!known || !params.relation) return null;
    const asked = { relation: params.relation, [side.value]: known };
    relation.set(params.relation);
    return asked;
  }
  return { form, read };
}

/** One answer's line: place, name, probability. */
export function answerLine(answer, place) {
  return [
    el("span", { class: "place", "aria-hidden": "true" }, String(place)),
    el("a", { class: "name", href: address("explore", { entity: answer.entity }) }, answer.name),
    answer.known && el("span", { class: "tag", title: "given for training" }, "given"),
    bar(answer.probability),
    el("span", { class: "number" }, percent(answer.probability)),
  ];
}
