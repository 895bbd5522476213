// Elements from data. Text only ever becomes text: nothing here, or in any other module, parses HTML.

/** An element. `on…` are listeners, `style` is set by the object model, false leaves a thing out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [k, v] of Object.entries(value)) made.style.setProperty(k, v);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== false));
  return made;
}

let numbered = 0;

/** An id that no other element has. */
export const fresh = (prefix) => `${prefix}-${++numbered}`;

const SHOWN_MS = 6000;
let timer = 0;

/** Say something to screen readers; `shown` to eyes too, for a while, where nothing else shows it. */
export function say(text, shown = false) {
  const line = document.getElementById("status");
  line.textContent = text;
  line.classList.toggle("shown", shown);
  clearTimeout(timer);
  if (shown) timer = setTimeout(() => line.classList.remove("shown"), SHOWN_MS);
}

/** A probability for people; a dash where there is none. */
export function percent(p) {
  if (p === null || p === undefined) return "–";
  if (p > 0 && p < 0.001) return "<0.1 %";
  if (p > 0.999 && p < 1) return ">99.9 %";
  return `${(100 * p).toFixed(p < 0.1 || p > 0.99 ? 1 : 0)} %`;
}

/** A bar as long as a probability, for eyes alone: the number stands beside it. */
export function bar(p) {
  const inner = el("span", { style: { width: `${100 * Math.max(0, Math.min(1, p ?? 0))}%` } });
  return el("span", { class: "bar", "aria-hidden": "true" }, inner);
}

/**
 * Show that something is under way in `place`, then what it gave, or what went wrong. `made` turns it
 * into elements, and is left out where something else was asked for meanwhile.
 */
export async function showing(place, work, made = (found) => found) {
  const turn = (place.turn = (place.turn ?? 0) + 1);
  place.setAttribute("aria-busy", "true");
  try {
    const found = await work();
    if (place.turn === turn) place.replaceChildren(...[made(found)].flat());
  } catch (error) {
    if (place.turn === turn) place.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
  } finally {
    if (place.turn === turn) place.removeAttribute("aria-busy");
  }
}

/** What is said of answers that are left out, where there are some. */
export function without(withheld) {
  const said = withheld === 1 ? "1 statement is withheld: it is private or harmful." : `${withheld} statements are withheld: they are private or harmful.`;
  return withheld ? [el("p", { class: "hint" }, said)] : [];
}

/** The address of a view with its parameters. */
export function address(view, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given).toString();
  return `#/${view}${query ? `?${query}` : ""}`;
}

/** Go to an address; where it is shown already, ask for it anew. */
export function go(next) {
  if (location.hash === next) dispatchEvent(new Event("hashchange"));
  else location.hash = next;
}
