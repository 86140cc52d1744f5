// Colours of boxes. Pure. Every fill is light enough for black text, in dark mode too.

const HUES = [[26, 26], [48, 10], [216, 24], [150, 26], [0, 0]];
const SATURATIONS = [[84, 60], [86, 58], [78, 56], [48, 38], [0, 0]];
export const KINDS = ["native", "inlined", "kernel", "jit", "marker"];

/** Colour of a function: its kind gives the hue, its name a shade. */
export function ofFunction(kind, name, dark) {
  const [hue, spread] = HUES[kind] ?? HUES[4];
  if (kind === 4) return `hsl(220 8% ${dark ? 58 : 80}%)`;
  const noise = hash(name);
  const tone = dark ? 56 + (noise >>> 8) % 10 : 68 + (noise >>> 8) % 12;
  return `hsl(${hue - spread / 2 + (noise % 100) / 100 * spread} ${SATURATIONS[kind][dark ? 1 : 0]}% ${tone}%)`;
}

/**
 * Strength of a change from −1 (shrank) to 1 (grew): the relative change of the share, faded where the samples are too
 * few to tell it from noise (less than one to three standard errors).
 */
export function strength(before, beforeAll, after, afterAll) {
  if (!beforeAll || !afterAll) return 0;
  const [p, q] = [before / beforeAll, after / afterAll];
  const error = Math.sqrt(p * (1 - p) / beforeAll + q * (1 - q) / afterAll);
  const relative = (q - p) / Math.max(p, q, Number.EPSILON);
  const sure = error > 0 ? Math.min(1, Math.max(0, (Math.abs(q - p) / error - 1) / 2)) : 1;
  return Math.max(-1, Math.min(1, relative * 2)) * sure;
}

/**
 * Strength of a change that the detector told from noise (q at most `doubt`), from −1 to 1; 0 for all others. `rows` are
 * what it says of the node's function: a node is coloured where it changed the same way as its function.
 */
export function strengthOf(before, after, rows, doubt = 0.1) {
  const relative = (after - before) / Math.max(before, after, Number.EPSILON);
  const told = rows.some(({ q, delta }) => q <= doubt && Math.sign(delta) === Math.sign(relative));
  return told ? Math.max(-1, Math.min(1, relative * 2)) : 0;
}

/** Colour of a change: red grew, blue shrank, grey stayed. */
export function ofChange(value, dark) {
  const amount = Math.abs(value);
  const base = dark ? 62 : 88;
  const end = 58;
  return `hsl(${value > 0 ? 4 : 214} ${Math.round(amount ** 0.7 * 90)}% ${Math.round(base + (end - base) * amount ** 0.8)}%)`;
}

function hash(text) {
  let value = 2166136261;
  for (let at = 0; at < text.length; at += 1) value = Math.imul(value ^ text.charCodeAt(at), 16777619);
  return (value ^ value >>> 15) >>> 0;
}
