// What an address says of the page, and back. Every part is left out where it is what the page opens with. Nothing in an
// address is trusted: what is none of these values is left out.

import { FIRST, MAPS, MOST_PATCHES } from "../patch_viewer/state.js";

const MAP_WORDS = { pca: "colours", surprise: "surprise", attention: "attention" };
const SIGN = { 1: "", "-1": "-" };
const FLAGS = { raw: "centred", smooth: "smooth", borders: "borders" }; // 1: it is not as at first
const NUMBERS = { frames: [2, 1024], from: [0, 1e6], to: [0, 1e6], layer: [0, 1000] };
const TEXTS = { clip: 200, checkpoint: 200, sampling: 20, fit: 20, by: 20, hdr: 20, label: 200 };
export const NAMES = [...Object.keys(TEXTS), ...Object.keys(NUMBERS), "map", "seen", "step", "patches", "heat", "outline", ...Object.keys(FLAGS)];

const round = (x) => Math.round(x * 1000) / 1000;

// `patches`: step.row.col of each with "_" between, "-" before those that are subtracted, "b" for the second clip.
const writePatch = ({ clip, at, sign }) => `${SIGN[sign]}${clip ? "b" : ""}${at.join(".")}`;

function readPatch(text) {
  const [, minus, second, ...at] = /^(-?)(b?)(\d{1,4})\.(\d{1,4})\.(\d{1,4})$/.exec(text) || [];
  return at.length ? { clip: second ? 1 : 0, at: at.map(Number), sign: minus ? -1 : 1 } : null;
}

// {made: how the clip is embedded, label, state: the viewer's} as [name, text] pairs. `usual` is what the page opens with.
export function partsOf({ made, label, state }, usual) {
  const { map, patches, heat, threshold, step, seen } = state;
  const parts = [...Object.keys(TEXTS), ...Object.keys(NUMBERS)].filter((name) => name !== "label")
    .filter((name) => (made[name] ?? null) !== null && made[name] !== usual[name])
    .map((name) => [name, String(typeof made[name] === "number" ? round(made[name]) : made[name])]);
  if (label) parts.push(["label", label]);
  if (map && map !== FIRST.map && MAP_WORDS[map]) parts.push(["map", MAP_WORDS[map]]);
  if (seen && map === "surprise") parts.push(["seen", String(seen)]);
  if (step) parts.push(["step", String(step)]);
  if (patches?.length) parts.push(["patches", patches.slice(0, MOST_PATCHES).map(writePatch).join("_")]);
  if (heat !== undefined && heat !== FIRST.heat) parts.push(["heat", String(round(heat))]);
  if (threshold !== undefined && threshold !== FIRST.threshold) parts.push(["outline", String(round(threshold))]);
  for (const [name, key] of Object.entries(FLAGS)) if (state[key] === !FIRST[key]) parts.push([name, "1"]);
  return parts;
}

// The same of an address's part after "?": {made, label, state}; `any` is whether it says anything at all of the page.
export function readQuery(query, usual) {
  const given = new URLSearchParams(query);
  const text = (name) => given.get(name) ?? "";
  const number = (name) => (/^\d+(\.\d+)?$/.test(text(name)) ? Number(text(name)) : null);
  const made = { ...usual };
  for (const [name, longest] of Object.entries(TEXTS)) {
    if (name !== "label" && text(name) && text(name).length <= longest) made[name] = text(name);
  }
  for (const [name, [low, high]] of Object.entries(NUMBERS)) {
    const value = number(name);
    if (value !== null && value >= low && value <= high) made[name] = value;
  }
  const share = (name, low, usually) => (/^-?\d(\.\d+)?$/.test(text(name)) ? Math.max(low, Math.min(1, Number(text(name)))) : usually);
  const state = {
    map: MAPS.find((map) => MAP_WORDS[map] && MAP_WORDS[map] === text("map")) ?? FIRST.map,
    seen: number("seen") ?? FIRST.seen,
    step: number("step") ?? 0,
    patches: text("patches").split("_", MOST_PATCHES).map(readPatch).filter(Boolean),
    heat: share("heat", 0, FIRST.heat),
    threshold: share("outline", -1, FIRST.threshold),
  };
  for (const [name, key] of Object.entries(FLAGS)) state[key] = (text(name) === "1") !== FIRST[key];
  const label = text("label").length <= TEXTS.label ? text("label") : "";
  return { made, label, state, any: NAMES.some((name) => given.has(name)) };
}

// An address's part after "?" in which these parts stand in the place of those that say something of the page.
export function withParts(query, parts) {
  const kept = [...new URLSearchParams(query)].filter(([name]) => !NAMES.includes(name));
  const text = new URLSearchParams([...kept, ...parts]).toString();
  return text ? `?${text}` : "";
}
