// What stands beside the figure: legend, player, neighbours, vote, and how far the map can be trusted. User text only
// ever goes into textContent or attributes.

function make(tag, className = "", text = "", attributes = {}) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

// The marker of a label, as in the figure.
const SHAPES = {
  circle: "M6 1.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9z",
  square: "M2 2h8v8h-8z",
  diamond: "M6 0.5l5.5 5.5l-5.5 5.5l-5.5-5.5z",
  cross: "M4.2 1h3.6v3.2h3.2v3.6h-3.2v3.2h-3.6v-3.2h-3.2v-3.6h3.2z",
  x: "M3.3 1l2.7 2.7l2.7-2.7l2.3 2.3l-2.7 2.7l2.7 2.7l-2.3 2.3l-2.7-2.7l-2.7 2.7l-2.3-2.3l2.7-2.7l-2.7-2.7z",
};

function glyph({ colour, symbol }) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  const open = symbol.endsWith("-open");
  svg.setAttribute("viewBox", "-1 -1 14 14");
  svg.setAttribute("class", "rm-glyph");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[symbol.replace("-open", "")]);
  path.setAttribute("fill", open ? "none" : colour);
  path.setAttribute("stroke", colour);
  path.setAttribute("stroke-width", open ? "2" : "0");
  svg.append(path);
  return svg;
}

function drawLegend(node, styles, isolated, choose) {
  node.replaceChildren(
    ...styles.map((style) => {
      const button = make("button", "rm-chip", "", { type: "button", "aria-pressed": String(isolated === style.label) });
      button.append(glyph(style), make("span", "", style.label), make("span", "rm-soft", String(style.rows.length)));
      button.title = "Show this label alone";
      button.addEventListener("click", () => choose(isolated === style.label ? null : style.label));
      return button;
    }),
  );
}

function percent(share) {
  return `${Math.round(100 * share)} %`;
}

// What the vector of a clip is, for each way of pooling its tokens.
const ABOUT = {
  mean:
    "Clips are compared by what they show: a clip's vector is the mean of its tokens, less the references' mean. The " +
    "background fills most tokens, so clips of one place resemble each other.",
  motion:
    "Clips are compared by how they move: a clip's vector is in which regions its tokens change, and at which times they " +
    "change alike, less the references' mean. What things look like cancels out; where and when they move stays.",
};

function drawTruth(parts, set, clip) {
  parts.about.textContent = ABOUT[set.pooling];
  const { quality } = set;
  parts.quality.textContent = quality
    ? `This map keeps ${percent(quality.recall)} of each reference's ${quality.neighbours} true nearest among its ` +
      `${quality.neighbours} nearest on it (recall@${quality.neighbours} ${quality.recall.toFixed(2)}, trustworthiness ` +
      `${quality.trustworthiness.toFixed(2)}). Distances on it mislead: trust the list of cosines.`
    : "";
  const { votes } = set;
  parts.votes.textContent = votes
    ? `Tried on the references themselves, the vote of the ${votes.voters} nearest names the right label for ` +
      `${percent(votes.right)} of them (always naming the commonest label: ${percent(votes.guess)}).`
    : "";
  parts.far.hidden = !clip || !clip.far;
  if (!clip) return;
  parts.far.textContent =
    `Far from all references: the nearest has a cosine of ${clip.nearest.toFixed(2)}, while 97.5 % of the references ` +
    `have another one above ${clip.threshold.toFixed(2)}. Its place on the map means little.`;
  const { vote } = clip;
  parts.vote.textContent = vote
    ? `${vote.count} of the ${vote.k} nearest are “${vote.label}”, ` +
      (vote.margin > 0 ? `a lead of ${Math.round(vote.margin * vote.k)} over the next label.` : "no more than another label.")
    : "";
}

// The list of true neighbours; `act` holds {play(row), focus(row or null), thumbnailOf(row)}.
function drawNeighbours(node, set, clip, styles, act) {
  const byLabel = new Map(styles.map((style) => [style.label, style]));
  node.replaceChildren(
    ...(clip ? clip.neighbours : []).map((row) => {
      const { label, file, thumbnail } = set.clips[row];
      const cosine = clip.cosines[row];
      const item = make("li");
      const button = make("button", "rm-neighbour", "", { type: "button", "aria-label": `Play ${label}, ${file}, cosine ${cosine.toFixed(3)}` });
      const picture = make("img", "rm-thumb", "", { alt: "", loading: "lazy" });
      if (thumbnail) picture.src = act.thumbnailOf(row);
      const name = make("span", "rm-name");
      const title = make("span", "rm-label");
      title.append(glyph(byLabel.get(label)), make("span", "", label));
      name.append(title, make("span", "rm-file", file));
      const bar = make("span", "rm-bar");
      bar.style.setProperty("--share", Math.max(0, cosine));
      const number = make("span", "rm-cosine", cosine.toFixed(3));
      number.append(bar);
      button.append(picture, name, number);
      button.addEventListener("click", () => act.play(row));
      for (const [event, target] of [["mouseenter", row], ["focus", row], ["mouseleave", null], ["blur", null]]) {
        button.addEventListener(event, () => act.focus(target));
      }
      item.append(button);
      return item;
    }),
  );
}

const STILL = /[.](jpe?g|png|webp|avif|gif)$/i;

function drawPlayer(node, clip, url) {
  const still = STILL.test(clip.file);
  const screen = still
    ? make("img", "rm-screen", "", { alt: clip.description || clip.label })
    : make("video", "rm-screen", "", { controls: "", loop: "", playsinline: "", "aria-label": `Reference clip: ${clip.label}` });
  const problem = make("p", "rm-soft", "", { role: "status" });
  screen.addEventListener("error", () => { problem.textContent = "This browser cannot play this file."; });
  screen.src = url;
  const caption = make("p", "rm-caption");
  caption.append(make("strong", "", clip.label), make("span", "", clip.description ? ` ${clip.description}` : ""));
  node.replaceChildren(screen, caption, make("p", "rm-soft rm-file", [clip.file, clip.licence].filter(Boolean).join(" · ")), problem);
  if (!still) {
    screen.muted = true; // browsers only start silent videos by themselves
    screen.play().catch(() => {}); // where they do not, the controls are there
  }
}
