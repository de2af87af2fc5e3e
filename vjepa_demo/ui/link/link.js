// Keeps what is shown in the address: a link, a reload, Back and Forward lead to it again. A visitor's own clip is found by
// an id that stands in the browser's history alone, not in the address: a link that is passed on does not show it.

import { h, whileThere } from "../shared/dom.js";
import { partsOf, readQuery, withParts } from "./address.js";

export const mount = (element, gradio) => new Link(element, gradio);

const COPIED = "Link copied.";
const COPIED_OWN = "Link copied. Your clip is not in it: it leads there in this browser alone.";
const TOLD_MS = 4000;

// The small buttons of the head are one stop of the keyboard; arrow keys go along them.
const HEAD = ".lk-button, .theme-switch";

function moveAlong({ key, target }) {
  const move = { ArrowRight: 1, ArrowLeft: -1 }[key];
  if (!move || !target.matches?.(HEAD)) return;
  const all = [...document.querySelectorAll(HEAD)].filter((node) => node.checkVisibility());
  const next = all[(all.indexOf(target) + move + all.length) % all.length];
  for (const one of all) one.tabIndex = one === next ? 0 : -1;
  next.focus();
}

class Link {
  #made = null; // how the clip is embedded that is shown, as the server told it last
  #state = { patches: [] }; // the viewer's
  #label = "";
  #talk = { on: false, scene: null };
  #turn = 0; // of what the server was asked for
  #asked = null; // what it was asked for and has not shown yet, since the turn `first`
  #fresh = false; // nothing was heard yet of what the viewer shows

  constructor(element, { props, trigger, watch }) {
    this.props = props;
    this.trigger = trigger;
    this.usual = props.usual;
    this.#talk.on = new URLSearchParams(location.search).get("talk") === "1";
    this.said = h("p", { class: "lk-said", role: "status" });
    const act = (name, label, run) =>
      h("button", { type: "button", class: `lk-button lk-${name}`, "aria-label": label, title: label, tabindex: name === "share" ? 0 : -1, on: { click: run } }, h("i"));
    element.replaceChildren(h(
      "div", { class: "lk-root w-root" },
      act("share", "Share: copy a link to what is shown", () => this.#share()),
      act("stage", "Stage (T): for a projector", () => this.#tell("showtalk", { on: true, scene: null })),
      this.said,
    ));
    const listen = (type, run) => whileThere(element, document, type, ({ detail }) => run(detail));
    listen("statechange", (state) => this.#heard(state));
    listen("labelchange", ({ label }) => this.#chose({ label }));
    listen("talkchange", (talk) => this.#chose({ talk }));
    whileThere(element, window, "popstate", () => this.#go());
    whileThere(element, document, "keydown", (event) => moveAlong(event));
    watch("value", () => this.#shown(this.props.value));
    const query = readQuery(location.search, this.usual);
    if (query.any) this.#ask({ ...query, id: history.state?.id ?? "", opened: true });
    this.#shown(props.value);
  }

  // What the server shows now, or, `failed`, does not.
  #shown(value) {
    if (!value) return undefined;
    const asked = this.#asked;
    const answers = asked && value.turn >= asked.first;
    const before = this.#made, { id, view } = this;
    if (value.made) [this.#made, this.id, this.view] = [{ ...value.made }, value.id, value.view];
    // An address before this one: the server may have been asked for both in the other order, and have ended this one.
    if (asked && value.turn && !answers) return this.#send();
    this.#asked = null; // also where something else was chosen meanwhile
    if (!this.#made) return undefined;
    if (answers && !value.failed) {
      this.#fresh = true; // the viewer leaves out what does not fit the clip
      this.#state = asked.state;
      this.#label = asked.label;
      this.#tell("showlabel", { label: asked.label });
    } else if (before && !value.turn && (JSON.stringify(before) !== JSON.stringify(this.#made) || (this.#made.clip === "own" && id !== this.id))) {
      if (view !== this.view) { // the viewer tells which patches stay pinned when it shows it
        this.#state = { ...this.#state, patches: [], step: 0 };
        this.#fresh = true;
      }
      return this.#write("push");
    }
    return this.#write("replace");
  }

  #heard(state) {
    // Until what was asked for has come, the viewer tells of what was there before.
    if (this.#talk.on || this.#asked || !this.#made || state.view !== this.view) return;
    const pinned = ({ patches }) => JSON.stringify(patches ?? []);
    const how = this.#fresh || pinned(state) === pinned(this.#state) ? "replace" : "push";
    this.#fresh = false;
    this.#state = state;
    this.#write(how);
  }

  #chose({ label = this.#label, talk = this.#talk }) {
    const before = this.#talk;
    const begun = talk.on && before.on && before.scene === null; // an address without a scene leads to the first
    const same = label === this.#label && talk.on === before.on && talk.scene === before.scene;
    this.#label = label;
    this.#talk = talk;
    if (!same) this.#write(begun ? "replace" : "push");
  }

  // Back, Forward, or an address that was changed by hand.
  #go() {
    const query = new URLSearchParams(location.search);
    const on = query.get("talk") === "1", talk = { on, scene: on ? Number(query.get("scene")) || null : null };
    if (talk.on !== this.#talk.on || talk.scene !== this.#talk.scene) {
      this.#talk = talk;
      this.#tell("showtalk", talk);
    }
    if (talk.on) return; // a scene is shown
    const wanted = { ...readQuery(location.search, this.usual), id: history.state?.id ?? "" };
    const same = JSON.stringify(wanted.made) === JSON.stringify(this.#made) && (wanted.made.clip !== "own" || wanted.id === this.id);
    if (!same || this.#asked) return this.#ask(wanted); // the last one asked for ends those before it
    this.#fresh = true;
    this.#state = wanted.state;
    this.#label = wanted.label;
    this.#tell("showstate", wanted.state);
    this.#tell("showlabel", { label: wanted.label });
  }

  #ask({ made, state, label, id, opened = false }) {
    this.#asked = { first: this.#turn + 1, state, label, sent: { ...made, id, state, opened } };
    this.#send();
  }

  #send() {
    this.trigger("go", { ...this.#asked.sent, turn: ++this.#turn });
  }

  #tell(type, detail) {
    document.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #query() {
    const parts = partsOf({ made: this.#made ?? {}, label: this.#label, state: this.#state }, this.usual);
    const talk = this.#talk.on ? [["talk", "1"], ...(this.#talk.scene ? [["scene", String(this.#talk.scene)]] : [])] : [];
    const others = new URLSearchParams(location.search);
    others.delete("talk");
    others.delete("scene");
    return withParts(others.toString(), [...parts, ...talk]);
  }

  // Browsers refuse many of these in a short time, and in frames of some kinds all: the address is then not the latest.
  #write(how) {
    const query = this.#query();
    const place = `${location.pathname}${query}${location.hash}`;
    const id = this.id ?? "";
    const other = query !== location.search || (history.state?.id ?? "") !== id;
    try {
      if (how === "push" && other) history.pushState({ id }, "", place);
      else if (other) history.replaceState({ ...history.state, id }, "", place);
    } catch (error) {
      console.warn(error.message);
    }
  }

  async #share() {
    const told = this.#made?.clip === "own" ? COPIED_OWN : COPIED;
    const { href } = location;
    try {
      await navigator.clipboard.writeText(href);
      this.#say(told);
    } catch {
      this.#say(`Copy the address of this page: ${href}`); // the browser keeps the clipboard from us
    }
  }

  #say(words) {
    this.said.textContent = words;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { this.said.textContent = ""; }, TOLD_MS);
  }
}
