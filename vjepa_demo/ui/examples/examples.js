// A row of pictures; a click chooses one.

import { address, h } from "../shared/dom.js";

export function mount(element, { props, trigger }) {
  const choose = (example) => {
    props.value = { example, turn: Date.now() };
    trigger("chosen");
  };
  const chips = props.names.map((name, number) => h(
    "button", { type: "button", class: "ex-chip", on: { click: () => choose(number) } },
    h("img", { src: address(`examples/${number}.jpg`), alt: "", width: 64, height: 48 }), h("span", { text: name }),
  ));
  element.replaceChildren(h("div", { class: "ex-root w-root", role: "group", "aria-label": "Examples" }, h("span", { class: "ex-try", text: "Try" }), ...chips));
}
