// What the address widget's module makes of what it is asked, under node. Standard input: {usual, written: [what is to be
// written], read: [queries], kept: [queries]}.

import { readFileSync } from "node:fs";

const { NAMES, partsOf, readQuery, withParts } = await import(new URL("../../../vjepa_demo/ui/link/address.js", import.meta.url));
const { usual, written, read, kept } = JSON.parse(readFileSync(0, "utf8"));

console.log(JSON.stringify({
  names: NAMES,
  written: written.map((one) => withParts("", partsOf(one, usual))),
  read: read.map((query) => readQuery(query, usual)),
  kept: kept.map((query) => withParts(query, partsOf({ made: usual, label: "", state: { patches: [] } }, usual))),
}));
