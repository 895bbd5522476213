// Ask (entity, relation, ?): ranked answers, and for each what speaks for it.

import { call } from "./api.js";
import { el, fresh, say, showing, without } from "./dom.js";
import { answerLine, queryForm } from "./query.js";
import { why } from "./why.js";

export function asks(section) {
  const { form, read } = queryForm("ask", "Ask");
  const place = el("div", { class: "answers" });
  section.append(
    el("p", { class: "lead" }, "Which entities complete a triple, how sure the run is, and what speaks for each."),
    form, place);

  return async (params) => {
    const asked = read(params);
    await showing(place, async () => asked && call("/v1/predict", { body: { ...asked, why: false } }), (found) => {
      if (!found) return [];
      const { answers, withheld } = found;
      say(answers.length ? `${answers.length} answers, the first is ${answers[0].name}` : "no answer may be shown");
      return [el("h2", {}, "Answers"), el("ol", { class: "ranked" }, answers.map((one, i) => item(asked, one, i))), ...without(withheld)];
    });
  };
}

/** An answer whose reasons open below it; those of the first one are open. */
function item(asked, answer, index) {
  const panel = el("div", { id: fresh("why"), class: "why", hidden: true });
  const button = el("button", {
    type: "button", "aria-expanded": "false", "aria-controls": panel.id,
    "aria-label": `Why ${answer.name}?`, onclick: toggle,
  }, "why?");
  const triple = {
    head: asked.head ?? answer.entity, relation: asked.relation, tail: asked.tail ?? answer.entity,
  };
  let told = false;

  function toggle() {
    panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!panel.hidden));
    if (told) return;
    told = true;
    showing(panel, () => why(triple));
  }
  if (index === 0) toggle();
  return el("li", {}, el("div", { class: "line" }, answerLine(answer, index + 1), button), panel);
}
