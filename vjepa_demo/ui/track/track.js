// A film's windows in a row: up, how like each is to what was asked for; down, how much it differs from the one before.

import { button, h } from "../shared/dom.js";

export function mount(element, { props, trigger, watch }) {
  const show = () => element.replaceChildren(...(props.value?.windows ? [draw(props.value, trigger)] : []));
  watch("value", show);
  show();
}

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.round(seconds % 60)).padStart(2, "0")}`;

function draw({ windows, change, scenes, like, what, words }, trigger) {
  const begins = new Map(scenes.map((scene, number) => [scene.window, { number: number + 1, at: scene.begins }]));
  const most = { like: Math.max(...like, 0.01), change: Math.max(...change, 0.01) };
  const best = like.indexOf(Math.max(...like));
  const row = h("div", { class: "tr-row", role: "group", "aria-label": "Windows" });
  const bars = windows.map(([start, end], i) => {
    const scene = begins.get(i);
    const told = `${start.toFixed(2)} to ${end.toFixed(2)} s, like ${like[i].toFixed(2)}, change ${change[i].toFixed(2)}`;
    const bar = button("", () => {
      for (const other of bars) other.setAttribute("aria-pressed", other === bar);
      trigger("window", { start, end });
    }, {
      class: "tr-window", title: told, "aria-label": scene ? `Scene ${scene.number}: ${told}` : told, "aria-pressed": "false",
      "data-scene": scene && (scene.number > 1 || null), "data-best": i === best || null,
    });
    const up = h("span", { class: "tr-like" }), down = h("span", { class: "tr-change" });
    up.style.height = `${(100 * Math.max(0, like[i])) / most.like}%`;
    down.style.height = `${(100 * change[i]) / most.change}%`;
    bar.append(h("span", { class: "tr-up" }, up), h("span", { class: "tr-down" }, down), h("span", { class: "tr-time", text: scene ? clock(scene.at) : "" }));
    return bar;
  });
  row.append(...bars);
  return h(
    "section", { class: "tr-root w-root", role: "region", "aria-label": "Windows of the film" }, row,
    h("p", { class: "w-soft", text: `Up: how like ${what}, at most ${like[best].toFixed(2)}, from 0 on. Down: how much a window differs from the one before.${scenes.length > 1 ? " A line: about there a scene begins." : ""}` }),
    h("p", { class: "w-soft", text: `${words}. A click shows a window.` }),
  );
}
