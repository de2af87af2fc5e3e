// The stage: the page's viewer and map fill the screen, scene after scene, and nothing is asked of the server any more once
// all scenes are here. How the viewer and the map look on it stands in their own style sheets, under `body.talk`.

import { address, h, whileThere } from "../shared/dom.js";
import { keepFile } from "../patch_viewer/files.js";
import { loadPlotly } from "../reference_map/reference_map.js";
import { KEYS, actionOf } from "./talk_keys.js";

export const mount = (element, gradio) => new Stage(element, gradio);

const IDLE_MS = 2000; // the pointer rests for so long before it is hidden
const NOTE_MS = 2500;
const MAKING_MS = 60_000;
const SLOW = "The next scene takes long, or is not coming: Esc, then T, asks again.";
const SHOWN_NEIGHBOURS = 4; // beside the map

// The parts of the page are mounted in no fixed order.
async function there(query) {
  while (!document.querySelector(query)) await new Promise((resolve) => setTimeout(resolve, 50));
  return document.querySelector(query);
}

const send = (type, detail) => document.dispatchEvent(new CustomEvent(type, { detail }));

class Stage {
  on = false;
  number = 1; // of the scene
  #scenes = null;
  #warm = new Map(); // scene -> a promise of whether all of it is here
  #pictures = []; // that the map shows: held, so that the browser keeps them
  #layer = 0;
  #pair = false;
  #colours = false;
  #heat = 0.75;
  #asked = false; // for full screen
  #sizes = null; // of the number
  #timers = {};

  constructor(element, { props, trigger, watch }) {
    this.props = props;
    this.trigger = trigger;
    this.caption = h("p", { class: "st-caption", role: "status" });
    this.progress = h("p", { class: "st-progress", role: "status" });
    this.note = h("p", { class: "st-note", role: "status", hidden: "" });
    this.help = h("dl", { class: "st-help", hidden: "" }, ...KEYS.flatMap(([key, what]) => [h("dt", { text: key }), h("dd", { text: what })]));
    this.black = h("div", { class: "st-black", hidden: "" });
    this.root = h(
      "section", { class: "st-root", role: "region", "aria-label": "Stage", hidden: "", "data-state": "empty" },
      this.caption, this.progress, this.note, this.help, this.black,
    );
    element.replaceChildren(this.root);
    this.#listen();
    watch("value", () => this.#take(props.value));
    const asked = new URLSearchParams(location.search);
    if (asked.get("talk") === "1") this.open(Number(asked.get("scene")) || 1);
  }

  #listen() {
    const { root } = this;
    // Before the viewer and the map hear it, which have other uses for some of these keys.
    whileThere(root, window, "keydown", (event) => this.#onKey(event), true);
    whileThere(root, document, "showtalk", ({ detail }) => (detail.on ? this.open(detail.scene) : this.close()));
    whileThere(root, document, "pointerdown", () => this.on && this.#fill());
    whileThere(root, document, "pointermove", () => this.on && this.#wake());
  }

  // --- opening and closing ---------------------------------------------------------------------------------------------

  open(scene = null) {
    const number = scene ?? this.number;
    if (this.on) return this.go(number);
    this.on = true;
    this.number = Math.max(1, Math.round(number) || 1);
    this.root.hidden = false;
    document.body.classList.add("talk");
    document.activeElement?.blur();
    scrollTo(0, 0);
    this.#fill();
    this.#wake();
    this.#tell();
    // The caption has what the number leaves of the line.
    if (!this.#sizes) this.#measure();
    if (!this.#scenes) {
      this.#sayMaking("Scenes are made …");
      this.trigger("opened");
    }
    return this.go(this.number);
  }

  close() {
    if (!this.on) return;
    this.on = this.#asked = false;
    this.root.hidden = this.help.hidden = this.black.hidden = this.note.hidden = true;
    document.body.classList.remove("talk");
    for (const name of ["over", "idle"]) delete document.body.dataset[name];
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    send("showclip", null);
    send("showmap", null);
    this.#tell();
  }

  #tell() {
    send("talkchange", { on: this.on, scene: this.on ? this.number : null });
  }

  // Full screen with the first key or press: browsers allow it then. Where they do not, the stage is as large as the window.
  #fill() {
    if (this.#asked || !navigator.userActivation?.isActive) return;
    this.#asked = true;
    if (!document.fullscreenElement) this.full();
  }

  async full() {
    if (document.fullscreenElement) return document.exitFullscreen().catch(() => {});
    try {
      await document.documentElement.requestFullscreen();
      await navigator.keyboard?.lock?.(["Escape"]); // it closes help, black and map first
    } catch {
      // it stays in the window
    }
    return undefined;
  }

  #wake() {
    delete document.body.dataset.idle;
    clearTimeout(this.#timers.idle);
    this.#timers.idle = setTimeout(() => {
      if (this.on) document.body.dataset.idle = "yes";
    }, IDLE_MS);
  }

  // --- scenes ----------------------------------------------------------------------------------------------------------

  // What comes from the server: how far it is, or all scenes.
  #take(value) {
    if (!value) return undefined;
    clearTimeout(this.#timers.making);
    if (!value.scenes) return this.#sayMaking(`${value.done} of ${value.of} scenes are made`);
    this.#scenes = value.scenes;
    this.missing = value.missing;
    this.number = Math.min(this.number, this.#scenes.length);
    this.go(this.number);
    return this.#warmAll();
  }

  // Nothing tells the stage that the server will not make them: it was cancelled, or turned away.
  #sayMaking(words) {
    this.#say(words);
    clearTimeout(this.#timers.making);
    this.#timers.making = setTimeout(() => this.#say(SLOW), MAKING_MS);
  }

  async #warmAll() {
    const total = this.#scenes.length;
    let here = 0;
    this.root.dataset.state = "loading";
    for (const scene of this.#scenes) {
      this.#say(`${here} of ${total} scenes`);
      if (scene && (await this.#warmed(scene))) here++;
    }
    this.root.dataset.state = here === total ? "ready" : "partly";
    this.#say(here === total ? `Ready: ${total} scenes` : this.missing.join(" ") || `${here} of ${total} scenes: the server does not answer.`);
    if (here === total) setTimeout(() => this.#say(""), NOTE_MS);
  }

  // Whether all that a scene needs is here; what could not be fetched can be tried again.
  #warmed(scene) {
    if (!this.#warm.has(scene)) {
      this.#warm.set(scene, this.#fetch(scene).then(() => true, () => {
        this.#warm.delete(scene);
        return false;
      }));
    }
    return this.#warm.get(scene);
  }

  async #fetch({ layers, map }) {
    const files = layers.flatMap(({ one, both }) => [one.primary, both?.compare]).filter(Boolean);
    await Promise.all(files.map(({ url }) => keepFile(url)));
    if (!map) return;
    const set = JSON.parse(new TextDecoder().decode(await keepFile(address(`${map.references}/set.json`))));
    if (set.points) await keepFile(address(`${map.references}/points.bin`));
    const known = set.clips ?? map.clip.known;
    const rows = map.clip.neighbours.slice(0, SHOWN_NEIGHBOURS).filter((row) => known[row].thumbnail);
    await Promise.all([loadPlotly(address(map.plotly)), ...rows.map(async (row) => {
      const picture = h("img", { src: address(`${map.references}/${row}.jpg`) });
      this.#pictures.push(picture);
      await picture.decode();
    })]);
  }

  async go(number) {
    if (!this.#scenes) {
      this.number = number;
      return;
    }
    const count = this.#scenes.length;
    this.number = Math.max(1, Math.min(count, Math.round(number) || 1));
    const { number: asked } = this, scene = this.#scenes[asked - 1];
    this.#tell();
    this.#over("");
    this.black.hidden = this.help.hidden = this.note.hidden = true;
    this.caption.textContent = scene ? scene.caption : "";
    this.#fit();
    if (this.root.dataset.state === "partly") this.#say(""); // it has been read
    const [here] = await Promise.all([scene && this.#warmed(scene), there(".pv-root")]);
    if (this.number !== asked || !this.on) return;
    if (!here) {
      this.#remark(`Scene ${asked} is missing.`);
      return;
    }
    this.#layer = scene.begin;
    this.#pair = Boolean(scene.layers[0].both);
    this.#colours = scene.state.map === "pca";
    this.#heat = scene.state.heat;
    this.#show(scene.state);
    if (scene.begin) this.#remark(scene.layers[this.#layer].words);
  }

  get scene() {
    return this.#scenes && this.#scenes[this.number - 1];
  }

  #show(state = null) {
    const { one, both } = this.scene.layers[this.#layer];
    send("showclip", { ...((this.#pair && both) || one), held: true, state: state && { ...state, live: true } });
  }

  // --- what keys do ----------------------------------------------------------------------------------------------------

  #onKey(event) {
    const typing = event.target.closest?.("input:not([type=range], [type=radio], [type=checkbox]), textarea, select, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.on) {
      if (event.key?.toLowerCase() !== "t" || typing) return;
      event.preventDefault();
      this.open();
      return;
    }
    const action = actionOf(event.key);
    if (event.key !== "Escape") this.#fill();
    if (!action) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    action(this);
  }

  play() {
    document.querySelector(".pv-time .w-button:nth-child(2)")?.click();
  }

  colours() {
    this.#colours = !this.#colours;
    send("showstate", { map: this.#colours ? "pca" : "similarity" });
  }

  heat() {
    this.#heat = this.#heat ? 0 : this.scene?.state.heat || 0.75;
    send("showstate", { heat: this.#heat });
  }

  layer() {
    if (!this.scene) return;
    this.#layer = 1 - this.#layer;
    this.#show();
    this.#remark(this.scene.layers[this.#layer].words);
  }

  second() {
    if (!this.scene) return;
    if (!this.scene.layers[0].both) {
      this.#remark("This scene has one clip.");
      return;
    }
    this.#pair = !this.#pair;
    this.#show();
  }

  map() {
    if (document.body.dataset.over) this.#over("");
    else if (this.scene?.map) this.#over("map");
    else this.#remark("There is no map for this scene.");
  }

  #over(what) {
    if (what) document.body.dataset.over = what;
    else delete document.body.dataset.over;
    if (what) send("showmap", this.scene.map);
  }

  dark() {
    this.black.hidden = !this.black.hidden;
  }

  keys() {
    this.help.hidden = !this.help.hidden;
  }

  // Away with what lies over the picture; then with the stage.
  back() {
    const lies = [this.black, this.help].find((node) => !node.hidden);
    if (lies) lies.hidden = true;
    else if (document.body.dataset.over) this.#over("");
    else this.close();
  }

  // --- words -----------------------------------------------------------------------------------------------------------

  #say(text) {
    this.progress.textContent = text;
  }

  #remark(text) {
    this.note.textContent = text;
    this.note.hidden = false;
    clearTimeout(this.#timers.note);
    this.#timers.note = setTimeout(() => { this.note.hidden = true; }, NOTE_MS);
  }

  async #measure() {
    this.#sizes = new ResizeObserver(() => this.#fit());
    this.#sizes.observe(await there(".pv-readout"));
  }

  #fit() {
    if (!this.on) return;
    const readout = document.querySelector(".pv-readout")?.getBoundingClientRect();
    this.caption.style.setProperty("--st-right", `${readout?.width ? innerWidth - readout.left : 0}px`);
    delete this.caption.dataset.long;
    if (this.caption.scrollHeight > this.caption.clientHeight + 2) this.caption.dataset.long = "yes";
  }
}
