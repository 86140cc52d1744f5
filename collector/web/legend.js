// The keys to the colours.

import { KINDS, ofChange, ofFunction } from "./colour.js";
import { element } from "./dom.js";

const TEXTS = { native: "user", inlined: "inlined", kernel: "kernel", jit: "jit", marker: "service or marker" };

/** Kinds of functions. */
export function ofKinds() {
  return legend(KINDS.map((name, kind) => [ofFunction(kind, "n", isDark()), TEXTS[name]]));
}

/** Directions of change; without replicates only sampling noise is known. */
export function ofChanges(isReplicated) {
  const same = isReplicated ? "not told from noise (q above 0.1)" : "as before within sampling noise; how hosts differ is not known";
  return legend([[-1, "share shrank"], [0, same], [1, "share grew"]]
    .map(([value, text]) => [ofChange(value, isDark()), text]));
}

function legend(entries) {
  return element("div", { class: "legend" }, ...entries.map(([colour, text]) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.background = colour;
    return element("span", {}, swatch, text);
  }));
}

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;
