// Search an entity; see what is known around it, as a graph and as a list that says the same.

import { call } from "./api.js";
import { address, el, go, percent, say, showing } from "./dom.js";
import { colour, draw } from "./graph.js";
import { picker } from "./picker.js";

const FEW = 40;
const MOST = 500;

export function explores(section) {
  const find = picker("Find an entity", (one) => go(address("explore", { entity: one.id })));
  const place = el("div");
  const form = el("form", { class: "query", onsubmit: (event) => {
    event.preventDefault();
    if (find.value()) go(address("explore", { entity: find.value() }));
    else find.input.focus();
  } }, find.element, el("button", { class: "main" }, "Show"));
  section.append(el("p", { class: "lead" }, "Given triples, and those that the run accepted from text (dashed)."), form, place);

  return async (params) => {
    const asked = { entity: params.entity, limit: params.all ? MOST : FEW };
    await showing(place, async () => params.entity && call("/v1/neighbourhood", { params: asked }), (found) => {
      if (!found) return [];
      if (document.activeElement !== find.input) find.set(found.entity.id, found.entity.name);
      say(`${found.entity.name}: ${found.total} triples`);
      return shown(found);
    });
  };
}

function shown({ entity, edges, total }) {
  const groups = new Map();
  for (const edge of edges) {
    const out = edge.head === entity.id;
    const key = `${edge.relation} ${out}`;
    if (!groups.has(key)) groups.set(key, { relation: edge.relation, name: edge.relation_name, out, rows: [] });
    groups.get(key).rows.push(edge);
  }
  const canvas = el("div", { class: "graph", role: "img", "aria-label": `Graph of ${entity.name} and ${edges.length} triples around it; the list beside it says the same.` });
  const tools = el("div", { class: "zoom" });
  const part = edges.length < total && el("p", { class: "hint" }, `${edges.length} of ${total} triples are shown. `,
    edges.length < MOST && el("a", { href: address("explore", { entity: entity.id, all: 1 }) }, "Show more"));
  draw(canvas, tools, entity, edges).catch((error) => canvas.replaceChildren(el("p", { class: "error" }, error.message)));
  return [
    el("div", { class: "about" }, el("h2", {}, entity.name),
      el("p", { class: "hint" }, entity.id, entity.description && ` · ${entity.description}`, " · ",
        el("a", { href: address("ask", { head: entity.id, name: entity.name }) }, "ask about it"))),
    part || "",
    el("div", { class: "beside" },
      el("div", { class: "drawn" }, canvas, tools),
      el("div", { class: "edges" }, total ? [...groups.values()].map((group) => list(entity, group))
        : el("p", { class: "hint" }, "Nothing is known of it."))),
  ];
}

function list(entity, { relation, name, out, rows }) {
  return [
    el("h3", {}, el("span", { class: "dot", "aria-hidden": "true", style: { background: colour(relation) } }),
      out ? `${name} →` : `← ${name}`),
    el("ul", {}, rows.map((edge) => {
      const [id, label] = out ? [edge.tail, edge.tail_name] : [edge.head, edge.head_name];
      return el("li", {}, el("a", { href: address("explore", { entity: id }) }, label),
        edge.source === "accepted" && el("span", { class: "tag" }, `read, ${percent(edge.p)}`));
    })),
  ];
}
