// The drawing: the entity in the middle, its neighbours on rings around it. The library is fetched when first needed.

import { address, el } from "./dom.js";

const RING = 16;
const LABELLED = 14;
const NARROW = 500;
const known = new Map();

/** A colour for a relation, the same wherever it is shown, in light and dark. */
export function colour(relation) {
  if (!known.has(relation)) known.set(relation, known.size);
  return `hsl(${Math.round((known.get(relation) * 137.5 + 225) % 360)}, 55%, 52%)`;
}

let now = null;

/** Draw edges around an entity into `canvas`, with buttons to zoom in `tools`. */
export async function draw(canvas, tools, entity, edges) {
  const { default: cytoscape } = await import("./vendor/cytoscape.esm.min.mjs");
  await new Promise(requestAnimationFrame); // the canvas is in the page and has its size
  if (!canvas.isConnected) return;
  now?.destroy();
  const touch = matchMedia("(pointer: coarse)").matches;
  const cy = (now = cytoscape({
    container: canvas, elements: elements(entity, edges, canvas.clientHeight / canvas.clientWidth),
    style: styles(edges.length, canvas.clientWidth),
    layout: { name: "preset", fit: true, padding: 30 },
    // a wheel scrolls the page; two fingers zoom
    userZoomingEnabled: touch, boxSelectionEnabled: false, autoungrabify: true, minZoom: 0.2, maxZoom: 3,
  }));
  canvas.cy = cy; // the browser's console, and the tests, look into it
  canvas.dataset.drawn = "";
  cy.on("tap", "node", (event) => { location.hash = address("explore", { entity: event.target.id() }); });
  cy.on("mouseover", "edge", (event) => event.target.addClass("named"));
  cy.on("mouseout", "edge", (event) => event.target.removeClass("named"));
  cy.on("mouseover", "node", (event) => event.target.connectedEdges().addClass("named"));
  cy.on("mouseout", "node", (event) => event.target.connectedEdges().removeClass("named"));
  const zoom = (factor) => cy.zoom({ level: cy.zoom() * factor, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } });
  tools.replaceChildren(
    el("button", { type: "button", "aria-label": "Zoom in", onclick: () => zoom(1.3) }, "+"),
    el("button", { type: "button", "aria-label": "Zoom out", onclick: () => zoom(1 / 1.3) }, "−"),
    el("button", { type: "button", "aria-label": "Show all of the graph", onclick: () => cy.fit(undefined, 30) }, "fit"));
}

addEventListener("theme", () => now?.style(styles(now.edges().length, now.width())));
addEventListener("resize", () => { now?.resize(); now?.fit(undefined, 30); });

function elements(entity, edges, shape) {
  const around = new Map();
  for (const edge of edges) {
    if (edge.head !== entity.id) around.set(edge.head, edge.head_name);
    if (edge.tail !== entity.id) around.set(edge.tail, edge.tail_name);
  }
  const places = rings(around.size, Math.min(0.9, shape));
  return [
    { data: { id: entity.id, label: entity.name }, classes: "middle", position: { x: 0, y: 0 } },
    ...[...around].map(([id, label], i) => ({ data: { id, label }, position: places[i], classes: places[i].y < 0 ? "above" : "" })),
    ...edges.map((edge, i) => ({
      data: { id: `edge ${i}`, source: edge.head, target: edge.tail, label: edge.relation_name, colour: colour(edge.relation) },
      classes: edge.source,
    })),
  ];
}

/** Places on rings of the canvas's shape; each ring is turned against the one before. */
function rings(count, shape) {
  const sizes = [];
  for (let left = count, room = RING; left > 0; left -= room, room += 8) sizes.push(Math.min(left, room));
  return sizes.flatMap((size, ring) => Array.from({ length: size }, (_, i) => {
    const angle = (2 * Math.PI * (i + ring / 2)) / size - Math.PI / 2;
    const radius = 260 + 170 * ring;
    return { x: radius * Math.cos(angle), y: radius * shape * Math.sin(angle) };
  }));
}

/** Names large enough to read where the canvas is narrow; there a relation is named when touched. */
function styles(count, width) {
  const narrow = width < NARROW;
  const size = narrow ? 20 : 13;
  const of = getComputedStyle(document.documentElement);
  const [ink, paper, accent, soft] = ["--ink", "--paper", "--accent", "--line"].map((name) => of.getPropertyValue(name).trim());
  const name = { label: "data(label)", color: ink, "text-outline-color": paper, "text-outline-width": 3 };
  return [
    { selector: "node", style: { ...name, "background-color": soft, "border-color": ink, "border-width": 1, width: 16, height: 16,
      "font-size": size, "text-valign": "bottom", "text-margin-y": 4, "text-wrap": "ellipsis", "text-max-width": narrow ? 130 : 120 } },
    { selector: "node.above", style: { "text-valign": "top", "text-margin-y": -4 } },
    { selector: "node.middle", style: { "background-color": accent, width: 28, height: 28, "font-size": size + 3, "font-weight": "bold", "text-max-width": 240 } },
    { selector: "edge", style: { "curve-style": "bezier", "line-color": "data(colour)", "target-arrow-color": "data(colour)",
      "target-arrow-shape": "triangle", width: 2, "arrow-scale": 0.9 } },
    { selector: "edge.accepted", style: { "line-style": "dashed" } },
    { selector: narrow || count > LABELLED ? "edge.named" : "edge", style: { ...name, "font-size": size - 2, "text-wrap": "ellipsis", "text-max-width": 110, "text-rotation": "autorotate", "z-index": 9 } },
  ];
}
