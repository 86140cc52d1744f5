// Builds elements. Text is always set as text: names of functions come from any process.

/** Makes an element; properties starting with `on` are listeners, `class`, `aria-*`, `data-*` are attributes. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && name !== "list" && name !== "form") made[name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Makes a labelled control. */
export function labelled(text, control) {
  return element("label", {}, element("span", {}, text), control);
}

/** Makes a select from [value, text] pairs; a chosen value that is not among them is added. */
export function select(options, chosen, onchange) {
  const known = options.some(([value]) => value === chosen) ? options : [...options, [chosen, chosen]];
  const made = element("select", { onchange: (event) => onchange(event.target.value) });
  for (const [value, text] of known) {
    made.append(element("option", { value, selected: value === chosen }, text));
  }
  return made;
}

/**
 * Makes a table. Columns are { title, cell(row), value(row)?, number? }; a column with `value` sorts when its head is
 * pressed.
 */
export function table(caption, columns, rows, sorted = null) {
  const body = element("tbody");
  const heads = columns.map((column) => {
    const head = element("th", { scope: "col", class: column.number ? "number" : "" });
    if (!column.value) {
      head.append(column.title);
      return head;
    }
    const press = () => sortBy(column, head.getAttribute("aria-sort") === "descending");
    head.append(element("button", { type: "button", onclick: press }, column.title));
    return head;
  });
  const fill = (ordered) => body.replaceChildren(...ordered.map((row) => element("tr", {}, ...columns.map(
    (column, index) => element(index === 0 ? "th" : "td", {
      class: column.number ? "number" : "", scope: index === 0 ? "row" : null,
    }, column.cell(row))))));
  const sortBy = (column, rising) => {
    const compare = (a, b) => (column.value(a) < column.value(b) ? -1 : column.value(a) > column.value(b) ? 1 : 0);
    fill([...rows].sort((a, b) => (rising ? compare(a, b) : compare(b, a))));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    heads[columns.indexOf(column)].setAttribute("aria-sort", rising ? "ascending" : "descending");
  };
  fill(rows);
  if (sorted) heads[columns.findIndex((column) => column.title === sorted)]?.setAttribute("aria-sort", "descending");
  return element("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": caption },
    element("table", {}, element("caption", {}, caption), element("thead", {}, element("tr", {}, ...heads)), body));
}

/** A message in place of content: a title, and what to do. */
export function notice(title, ...paragraphs) {
  return element("section", { class: "notice", role: "status" }, element("h2", {}, title), ...paragraphs);
}
