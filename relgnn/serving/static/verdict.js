// A person's word on a triple: two buttons that show what was said last.

import { call, facts } from "./api.js";
import { el, say } from "./dom.js";

const DONE = { accept: "accepted", reject: "rejected" };

/** Buttons for a triple with ids and names; `last` is what was said before, or null. */
export function verdict(triple, last = null) {
  const name = `${triple.head_name} – ${triple.relation_name} – ${triple.tail_name}`;
  const { head, relation, tail } = triple;
  const buttons = Object.keys(DONE).map((word) => el("button", {
    type: "button", class: word, "aria-pressed": String(last === word),
    "aria-label": `${word} ${name}`, onclick: () => give(word),
  }, word === "accept" ? "✓ accept" : "✗ reject"));

  async function give(word) {
    if (buttons[0].hasAttribute("aria-disabled")) return; // one word is on its way
    buttons.forEach((one) => one.setAttribute("aria-disabled", "true"));
    try {
      const line = await call("/v1/feedback", { body: { head, relation, tail, verdict: word } });
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.classList.contains(word))));
      say(`${DONE[word]}: ${name}${line.counts ? "" : " (it is given already, so this changes nothing)"}`, true);
    } catch (error) {
      say(`not recorded: ${error.message}`, true);
    } finally {
      buttons.forEach((one) => one.removeAttribute("aria-disabled"));
    }
  }

  const group = el("span", { class: "verdict", role: "group", "aria-label": `Your word on ${name}`, hidden: true }, buttons);
  facts("/v1/run").then((run) => { group.hidden = !run.takes_feedback; }, () => {});
  return group;
}
