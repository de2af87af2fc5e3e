// Frame after frame: by itself for a few rounds when a clip is new, until the visitor touches something. The first clip is
// seen plain for a moment, then the heat comes.

const ROUNDS = 3;
const PLAIN_MS = 900;
const COMING_MS = 700;

export class Film {
  frame = 0;
  #timer = 0;
  #rounds = 0;
  #touched = false;

  constructor(viewer) {
    this.viewer = viewer;
  }

  get playing() {
    return Boolean(this.#timer);
  }

  begin() {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.#touched || calm) return;
    this.#unveil();
    if (this.viewer.frames > 1) this.play();
  }

  #unveil() {
    const { options } = this.viewer;
    const since = performance.now() + PLAIN_MS;
    options.opacity = 0;
    const more = () => {
      if (this.#touched) return;
      const share = Math.min(1, Math.max(0, (performance.now() - since) / COMING_MS));
      options.opacity = share * options.heat;
      this.viewer.paint();
      if (share < 1) requestAnimationFrame(more);
    };
    requestAnimationFrame(more);
  }

  play() {
    const { kind, timestamps } = this.viewer.views[0].clip.header;
    const apart = kind === "image" ? 0.25 : (timestamps[timestamps.length - 1] - timestamps[0]) / Math.max(1, timestamps.length - 1);
    this.#timer = setInterval(() => this.#next(), Math.max(60, Math.min(500, 1000 * apart)));
    this.#show();
  }

  #next() {
    if (!this.viewer.root.isConnected) this.stop();
    else if (!document.hidden) {
      if (!this.#touched && this.frame + 1 >= this.viewer.frames && ++this.#rounds >= ROUNDS) this.stop();
      this.viewer.showFrame(this.frame + 1, false);
    }
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#show();
  }

  #show() {
    this.viewer.root.dataset.playing = this.playing;
    this.viewer.controls.playing(this.playing);
  }

  // The first touch of a visitor ends the film that plays by itself.
  touched() {
    if (this.#touched) return;
    this.#touched = true;
    this.viewer.options.opacity = this.viewer.options.heat;
    this.stop();
  }
}
