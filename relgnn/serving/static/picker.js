// A field that finds entities while one types: arrow keys choose, Enter takes, Escape closes.

import { call } from "./api.js";
import { el, fresh } from "./dom.js";

const WAIT_MS = 120;

/** The field and its label; `taken` is told the entity that was chosen. */
export function picker(label, taken = () => {}) {
  const [inputId, listId] = [fresh("entity"), fresh("found")];
  const list = el("ul", { id: listId, role: "listbox", "aria-label": label, hidden: true });
  const input = el("input", {
    id: inputId, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", maxlength: "100",
    "aria-expanded": "false", "aria-controls": listId, "aria-autocomplete": "list", placeholder: "a name or id",
  });
  let [found, at, timer, asked, entity] = [[], -1, 0, null, null];

  function close() {
    clearTimeout(timer);
    asked?.abort();
    list.hidden = true;
    at = -1;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark(next) {
    at = next;
    [...list.children].forEach((row, i) => row.setAttribute("aria-selected", String(i === at)));
    if (at < 0) return;
    input.setAttribute("aria-activedescendant", list.children[at].id);
    list.children[at].scrollIntoView({ block: "nearest" });
  }

  function take(one) {
    entity = one;
    input.value = one.name;
    close();
    taken(one);
  }

  function show() {
    list.replaceChildren(...found.map((one) => el(
      "li", { id: fresh("option"), role: "option", "aria-selected": "false",
        onpointerdown: (event) => event.preventDefault(), onclick: () => take(one) },
      el("span", { class: "name" }, one.name), " ",
      el("span", { class: "hint" }, one.description || one.id),
    )));
    if (!found.length) list.append(el("li", { class: "hint", role: "option", "aria-disabled": "true" }, "nothing is called so"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(found.length ? 0 : -1);
  }

  async function search() {
    asked?.abort();
    asked = new AbortController();
    const mine = asked;
    try {
      found = (await call("/v1/entities", { params: { q: input.value.trim() }, signal: mine.signal })).entities;
      if (!mine.signal.aborted) show();
    } catch (error) {
      if (error.name !== "AbortError") close();
    }
  }

  input.addEventListener("input", () => {
    entity = null;
    close();
    if (input.value.trim()) timer = setTimeout(search, WAIT_MS);
  });
  input.addEventListener("keydown", (event) => {
    if (list.hidden) return;
    if (event.key === "ArrowDown" && found.length) mark((at + 1) % found.length);
    else if (event.key === "ArrowUp" && found.length) mark((at - 1 + found.length) % found.length);
    else if (event.key === "Enter" && at >= 0) take(found[at]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  input.addEventListener("blur", close);

  return {
    element: el("div", { class: "field picker" }, el("label", { for: inputId }, label), input, list),
    /** What was chosen, or else what is written: an exact name or id will do. */
    value: () => entity?.id ?? input.value.trim(),
    set: (id, name) => {
      entity = id ? { id, name } : null;
      input.value = name ?? id ?? "";
    },
    input,
  };
}
