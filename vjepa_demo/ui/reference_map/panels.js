// What stands on and beside the figure: names, film, player, neighbours, vote, and how far the map can be trusted.

import { button, h, svg } from "../shared/dom.js";

// The marker of a label, as in the figure.
const SHAPES = {
  circle: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
  square: "M2 2h8v8h-8z",
  diamond: "M6 0.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
  cross: "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
  "triangle-up": "M6 1l5 9h-10z",
  "triangle-down": "M6 11l5-9h-10z",
  bowtie: "M1.5 1.5l4.5 3l4.5-3v9l-4.5-3l-4.5 3z",
  x: "M3.3 1l2.7 2.7l2.7-2.7l2.3 2.3l-2.7 2.7l2.7 2.7l-2.3 2.3l-2.7-2.7l-2.7 2.7l-2.3-2.3l2.7-2.7l-2.7-2.7z",
};

function glyph({ colour, symbol }) {
  const path = svg("path", { d: SHAPES[symbol], fill: colour, stroke: "currentColor", "stroke-width": "0.8" });
  return svg("svg", { viewBox: "-1 -1 14 14", class: "rm-glyph", "aria-hidden": "true" }, path);
}

// A button for each label; where they stand is not decided here. The keyboard comes to them from the points, by L.
export function drawNames(node, styles, isolated, choose) {
  node.replaceChildren(
    ...styles.map((style) => {
      const alone = isolated === style.label;
      const run = () => choose(alone ? null : style.label);
      const name = button("", run, { class: "rm-on-map", tabindex: "-1", "aria-pressed": String(alone), title: `Show ${style.label} alone` });
      name.append(glyph(style), h("span", { text: style.label }));
      return name;
    }),
  );
}

const percent = (share) => `${Math.round(100 * share)} %`;

// What the vector of a clip is, for each way of pooling its tokens.
const ABOUT = {
  mean:
    "Clips are compared by what they show: a clip's vector is the mean of its tokens, less the references' mean. The " +
    "background fills most tokens, so clips of one place resemble each other.",
  motion:
    "Clips are compared by how they move: a clip's vector is where and when its tokens change, left or right alike, and " +
    "which changes are in the same places, less the references' mean. What things look like cancels out.",
  probe:
    "Clips are compared by what the checkpoint's classifier makes of them: a clip's vector is the one that its labels are " +
    "read off, less the references' mean. What tells none of its labels apart may be lost.",
};

const MISLEAD = "Distances on it mislead: trust the list of cosines.";

export function drawTruth(parts, set, clip) {
  parts.about.textContent = ABOUT[set.pooling];
  const { quality, votes, remarks = [] } = set.told;
  parts.quality.textContent = quality
    ? `This map keeps ${percent(quality.recall)} of each reference's ${quality.neighbours} true nearest among its ` +
      `${quality.neighbours} nearest on it (recall@${quality.neighbours} ${quality.recall.toFixed(2)}, trustworthiness ` +
      `${quality.trustworthiness.toFixed(2)}). ${MISLEAD}`
    : remarks.length ? [...remarks, MISLEAD].join(" ") : "";
  parts.votes.textContent = votes
    ? `Tried on the references themselves, the vote of the ${votes.voters} nearest names the right label for ` +
      `${percent(votes.right)} of them (always naming the commonest label: ${percent(votes.guess)}).`
    : "";
  parts.far.hidden = !clip || !clip.far;
  if (!clip) {
    parts.vote.textContent = "";
    return;
  }
  parts.far.textContent =
    `Far from all references: the nearest has a cosine of ${clip.nearest.toFixed(2)}, while 97.5 % of the references ` +
    `have another one above ${clip.threshold.toFixed(2)}. Its place on the map means little.`;
  const { vote } = clip;
  parts.vote.textContent = vote
    ? `${vote.label} · ${vote.count} of ${vote.k} nearest` + (vote.margin > 0 ? "" : ", no more than another label")
    : "";
}

// The list of true neighbours; `act` holds {play(row), focus(row or null)}.
export function drawNeighbours(node, set, clip, act) {
  node.replaceChildren(
    ...(clip ? clip.neighbours : []).map((row) => {
      const about = set.about(row), { label, thumbnail } = about, file = nameOf(about);
      const cosine = clip.cosines[row].toFixed(3);
      const bar = h("span", { class: "rm-bar" });
      bar.style.setProperty("--share", Math.max(0, clip.cosines[row]));
      const [focus, blur] = [() => act.focus(row), () => act.focus(null)];
      return h("li", {}, h(
        "button", {
          type: "button", class: "rm-neighbour", "aria-label": `Play ${label}, ${file}, cosine ${cosine}`,
          on: { click: () => act.play(row), mouseenter: focus, focus, mouseleave: blur, blur },
        },
        h("img", { class: "rm-thumb", alt: "", loading: "lazy", src: thumbnail && set.thumbnailAt(row) }),
        h("span", { class: "rm-name" },
          h("span", { class: "rm-label" }, glyph(set.styleOf(label)), h("span", { text: label })), h("span", { class: "rm-file", text: file })),
        h("span", { class: "rm-cosine", text: cosine }, bar),
      ));
    }),
  );
}

const seconds = (value) => String(Number(value.toFixed(2)));

// A file's name, and the span of it that a clip is.
export const nameOf = ({ file, span }) => (span ? `${file}, ${seconds(span[0])}–${seconds(span[1])} s` : file);

const AWAY = "This clip's file is not on this machine.";
const SLACK_S = 0.06; // a browser that stops at the end of a span may stop a little before it

// Shows a clip in a video, over and over: where it is a span of a file, that alone.
function load(video, url, span) {
  video.src = span ? `${url}#t=${span[0]},${span[1]}` : url;
  if (!span) return;
  video.addEventListener("timeupdate", () => {
    if (video.currentTime < span[1] - SLACK_S && video.currentTime >= span[0] - SLACK_S) return;
    video.currentTime = span[0];
    video.play().catch(() => {});
  });
}

const STILL = /[.](jpe?g|png|webp|avif|gif)$/i;
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// A reference in a box of one size: its small picture, over which the clip plays once `start` is called.
export function makeFilm(clip, url, thumbnail) {
  const away = clip.here === false, still = away || STILL.test(clip.file);
  const picture = thumbnail || (still && !away ? url : null);
  const node = h("div", { class: "rm-film" }, ...(picture ? [h("img", { class: "rm-poster", alt: "", src: picture })] : []));
  let video = null;
  const start = () => {
    if (still || video || calm()) return;
    video = h("video", { loop: "", playsinline: "", "aria-hidden": "true", on: { playing: () => video?.classList.add("rm-plays") } });
    video.muted = true; // browsers only start silent videos by themselves
    load(video, url, clip.span);
    node.append(video);
    video.play().catch(() => {}); // the picture stays
  };
  const stop = () => {
    video?.removeAttribute("src"); // what is still on its way is not needed any more
    video?.load();
    video = null;
  };
  return { node, start, stop };
}

// `url` is that of its file, `picture` that of its small picture where it has one.
export function drawPlayer(node, clip, url, picture, close) {
  const away = clip.here === false, still = away || STILL.test(clip.file);
  const problem = h("p", { class: "w-soft", role: "status", text: away ? AWAY : "" });
  const on = { error: () => { problem.textContent = "This browser cannot play this file."; } };
  const screen = still
    ? h("img", { class: "rm-screen", alt: clip.description || clip.label, on })
    : h("video", { class: "rm-screen", controls: "", loop: "", playsinline: "", "aria-label": `Reference clip: ${clip.label}`, on });
  if (away && !picture) screen.hidden = true;
  else if (still) screen.src = away ? picture : url;
  else load(screen, url, clip.span);
  const words = h("span", { text: clip.description ? ` ${clip.description}` : "" });
  node.replaceChildren(
    button("×", close, { class: "w-button rm-close", "aria-label": "Close the player" }), screen, h("p", { class: "rm-caption" }, h("strong", { text: clip.label }), words),
    h("p", { class: "w-soft rm-file", text: [nameOf(clip), clip.licence].filter(Boolean).join(" · ") }), problem,
  );
  if (!still) screen.muted = true;
  if (!still && !calm()) {
    screen.play().catch(() => {}); // where they do not, the controls are there
  }
}
