// The few ways this page makes and keeps elements. Text is set as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

// Change an element's text only where it differs: selections stay, screen readers stay quiet.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Keep one child per key, in order. Those that stay are kept, so focus and selection stay.
export function keep(parent, items, keyOf, build, fill) {
  const old = new Map([...parent.children].filter((child) => child.dataset.key != null).map((child) => [child.dataset.key, child]));
  const children = items.map((item) => {
    const key = String(keyOf(item));
    let child = old.get(key);
    if (!child) {
      child = build(item);
      child.dataset.key = key;
    }
    fill(child, item);
    old.delete(key);
    return child;
  });
  for (const gone of old.values()) gone.remove();
  children.forEach((child, index) => {
    if (parent.children[index] !== child) parent.insertBefore(child, parent.children[index] ?? null);
  });
}

export const row = () => make("tr", { role: "row" });

// Write a row's cells, touching only those that changed. The first is the row's header.
export function cells(tr, values) {
  while (tr.children.length > values.length) tr.lastChild.remove();
  values.forEach(({ label, text, node, title, bar, className = "" }, index) => {
    const cell = tr.children[index] ?? tr.appendChild(index ? make("td", { role: "cell" }) : make("th", { scope: "row", role: "rowheader" }));
    if (label != null && cell.dataset.label !== label) cell.dataset.label = label;
    if (cell.className !== className) cell.className = className;
    if (title != null && cell.title !== title) cell.title = title;
    if (node) {
      if (cell.firstChild !== node || cell.childNodes.length > 1) cell.replaceChildren(node);
    } else say(cell, text);
    if (bar === undefined) return;
    const share = bar == null ? "" : String(Math.min(Math.max(bar, 0), 1));
    if (cell.dataset.bar !== share) {
      cell.dataset.bar = share;
      cell.style.setProperty("--share", share || "0");
    }
  });
}

// A name that somebody else chose: of any length, in any script, in a line of its own.
export function name(text, className = "") {
  return make("bdi", { class: `name ${className}`.trim(), title: text }, text);
}
