// Draws a tree on a canvas: zoom, search, tooltip, keyboard. What a box's colour and numbers are, its owner says.

import { element } from "./dom.js";
import { percent } from "./format.js";
import { boxes, findPath, kindOf, moduleOf, nameOf, pathOf, search, share, step } from "./layout.js";

const ROW = 20;
/** Canvases higher than this fail in some browsers; no stack is this deep. */
const ROWS_MAX = 800;

export class FlameView {
  /**
   * `fill(node, dark)` gives a colour, `facts(node)` gives [term, text] pairs for the tooltip, `onchange({ zoom, search })`
   * hears of both as text.
   */
  constructor({ tree, label, fill, facts, legend, zoom = "", searched = "", onchange = () => {} }) {
    Object.assign(this, { tree, fill, facts, onchange, text: searched, hovered: -1 });
    this.zoom = findPath(tree, readPath(zoom));
    this.focused = this.zoom;
    this.canvas = element("canvas", {
      tabIndex: 0, role: "img", "aria-label": `${label}. Arrow keys walk, Enter zooms, Escape zooms out, slash searches.`,
      onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
      onmousemove: (event) => this.hover(event), onmouseleave: () => this.leave(),
      onblur: () => this.draw(), onfocus: () => this.draw(),
    });
    this.tooltip = element("div", { class: "tooltip", hidden: true });
    this.path = element("div", { class: "path", "aria-live": "polite" });
    this.matched = element("output", { class: "muted" });
    this.input = element("input", {
      type: "search", placeholder: "Search functions (/)", "aria-label": "Search functions and modules", value: searched,
      oninput: () => this.find(this.input.value), onkeydown: (event) => { if (event.key === "Escape") this.escapeSearch(event); },
    });
    this.reset = element("button", { type: "button", onclick: () => this.zoomTo(0) }, "Reset zoom");
    this.node = element("div", { class: "flame" },
      element("div", { class: "heading" }, legend, element("div", { class: "tools" }, this.matched, this.input, this.reset)),
      this.path, this.canvas, this.tooltip);
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.contrast = matchMedia("(prefers-contrast: more)");
    this.redraw = () => this.draw();
    this.dark.addEventListener("change", this.redraw);
    this.observer = new ResizeObserver(this.redraw);
    this.observer.observe(this.node);
    this.slash = (event) => {
      if (event.key !== "/" || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      event.preventDefault();
      this.input.focus();
    };
    document.addEventListener("keydown", this.slash);
    this.find(searched, false);
  }

  /** Lets go of the page; a view that is replaced must not listen on. */
  close() {
    this.observer.disconnect();
    this.dark.removeEventListener("change", this.redraw);
    document.removeEventListener("keydown", this.slash);
  }

  draw() {
    const width = this.node.clientWidth;
    if (!width) return;
    this.boxes = boxes(this.tree, this.zoom, width);
    const rows = Math.min(ROWS_MAX, this.boxes.reduce((most, box) => Math.max(most, box.row), 0) + 1);
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(rows * ROW * ratio);
    this.canvas.style.height = `${rows * ROW}px`;
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    context.font = "12px system-ui, 'Segoe UI', Roboto, sans-serif";
    context.textBaseline = "middle";
    const [dark, contrast] = [this.dark.matches, this.contrast.matches];
    const style = getComputedStyle(document.documentElement);
    const [match, ink] = [style.getPropertyValue("--match"), style.getPropertyValue("--ink")];
    for (const box of this.boxes) {
      const [y, wide] = [box.row * ROW, Math.max(box.width - (box.width > 3 ? 1 : 0), 0.5)];
      const hit = this.found?.nodes.has(box.node);
      context.globalAlpha = (this.found && !hit) || box.row < this.tree.depth[this.zoom] ? 0.45 : 1;
      context.fillStyle = hit ? match : this.fill(box.node, dark);
      context.fillRect(box.x, y, wide, ROW - 1);
      if (contrast && box.width > 3) {
        context.strokeStyle = ink;
        context.strokeRect(box.x + 0.5, y + 0.5, wide - 1, ROW - 2);
      }
      if (box.width > 26) {
        context.fillStyle = hit ? (dark ? "#1a0524" : "#ffffff") : "#14110d";
        context.globalAlpha = 1;
        context.fillText(fitted(context, nameOf(this.tree, box.node), box.width - 9), box.x + 4, y + ROW / 2);
      }
    }
    context.globalAlpha = 1;
    this.outline(context, this.hovered, ink, 1);
    if (document.activeElement === this.canvas) this.outline(context, this.focused, ink, 2);
    this.reset.disabled = this.zoom === 0;
  }

  outline(context, node, ink, thick) {
    const box = this.boxes.find((one) => one.node === node);
    if (!box) return;
    context.strokeStyle = ink;
    context.lineWidth = thick;
    context.strokeRect(box.x + thick / 2, box.row * ROW + thick / 2, Math.max(box.width - thick - 1, 1), ROW - 1 - thick);
  }

  at(event) {
    const [x, row] = [event.offsetX, Math.floor(event.offsetY / ROW)];
    return this.boxes.findLast((box) => box.row === row && box.x <= x && x < box.x + box.width)?.node ?? -1;
  }

  click(event) {
    const node = this.at(event);
    if (node >= 0) this.zoomTo(node);
  }

  hover(event) {
    const node = this.at(event);
    if (node !== this.hovered) {
      this.hovered = node;
      this.draw();
      this.describe(node);
    }
    this.tooltip.hidden = node < 0;
    if (node < 0) return;
    const [x, y] = [event.offsetX, event.offsetY + this.canvas.offsetTop];
    const room = this.node.clientWidth - this.tooltip.offsetWidth;
    this.tooltip.style.left = `${Math.max(0, Math.min(x + 14, room))}px`;
    this.tooltip.style.top = `${y + 18}px`;
  }

  leave() {
    this.hovered = -1;
    this.tooltip.hidden = true;
    this.draw();
  }

  describe(node) {
    if (node < 0) return;
    const facts = this.facts(node).flatMap(([term, text]) => [element("dt", {}, term), element("dd", {}, text)]);
    this.tooltip.replaceChildren(element("strong", {}, nameOf(this.tree, node)),
      element("span", { class: "muted" }, moduleOf(this.tree, node)), element("dl", {}, ...facts));
    const texts = this.facts(node).map(([term, text]) => `${term} ${text}`).join(", ");
    this.path.textContent = `${nameOf(this.tree, node)} ${moduleOf(this.tree, node)} · ${texts}`;
  }

  key(event) {
    if (event.key === "Enter") this.zoomTo(this.focused);
    else if (event.key === "Escape") this.zoomTo(0);
    else if (event.key.startsWith("Arrow")) {
      let next = step(this.tree, this.focused, event.key);
      // Boxes too thin to draw are walked past by zooming first.
      if (!this.boxes.some((box) => box.node === next)) next = this.focused;
      this.focused = next;
      this.describe(next);
      this.draw();
    } else return;
    event.preventDefault();
  }

  zoomTo(node) {
    this.zoom = node;
    this.focused = node;
    this.draw();
    this.describe(node);
    this.tell();
  }

  find(text, told = true) {
    this.text = text;
    this.found = search(this.tree, text);
    this.matched.textContent = this.found ? `${percent(this.found.share)} matched in ${this.found.nodes.size} places` : "";
    this.draw();
    if (told) this.tell();
  }

  escapeSearch(event) {
    event.preventDefault();
    this.input.value = "";
    this.find("");
    this.canvas.focus();
  }

  tell() {
    this.onchange({ zoom: this.zoom > 0 ? JSON.stringify(pathOf(this.tree, this.zoom)) : "", search: this.text.trim() });
  }
}

/** "1.20 %" of a node on one side. */
export const shareText = (tree, side, node) => percent(share(tree, side, node));

export { kindOf, nameOf };

/** A path of names from the address, which may hold anything. */
function readPath(text) {
  try {
    const names = JSON.parse(text || "[]");
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
  } catch {
    return [];
  }
}

function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low > 1 ? `${text.slice(0, low)}…` : "";
}
