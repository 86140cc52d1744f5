// How far the stacks of a flame graph can be trusted, in a line. Pure.

import { count, percent } from "./format.js";

/** Below this share of whole stacks the line is a warning, as in the collector's alerts. */
const WHOLE_SHARE_MIN = 0.95;
/** Further reasons are a tooltip away. */
const REASONS_SHOWN = 2;

/**
 * "97.4 % of stacks whole · 1.90 % too deep", whether that is a warning, and all reasons with their sentences; null where
 * no agent said how its stacks ended.
 */
export function trustOf({ samples, whole_share: whole, reasons }) {
  if (!samples) return null;
  const shown = reasons.slice(0, REASONS_SHOWN).map(({ reason, share }) => ` · ${percent(share)} ${reason}`);
  const more = reasons.length > REASONS_SHOWN ? " …" : "";
  const details = reasons.map((one) => `${one.reason}: ${count(one.samples)} samples. ${one.sentence ?? ""}`.trim());
  return { text: `${almost(whole)} of stacks whole${shown.join("")}${more}`, warn: whole < WHOLE_SHARE_MIN, details };
}

/** A share of whole stacks, cut and not rounded: 0.99996 is not 100 %. */
export const almost = (share) => (share < 1 ? percent(Math.floor(share * 1000) / 1000) : "100 %");
