// The few ways this page makes and keeps elements. Text is set as text, never as markup.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value != null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Keep one row per key, in order. Rows that stay are kept, so focus and selection stay.
export function keepRows(parent, items, keyOf, fill) {
  const old = new Map([...parent.children].map((row) => [row.dataset.key, row]));
  const rows = items.map((item) => {
    const key = keyOf(item);
    const row = old.get(key) ?? make(parent.tagName === "TBODY" ? "tr" : "article", { "data-key": key });
    fill(row, item);
    old.delete(key);
    return row;
  });
  for (const gone of old.values()) gone.remove();
  rows.forEach((row, index) => {
    if (parent.children[index] !== row) parent.insertBefore(row, parent.children[index] ?? null);
  });
}

// Write a row's cells, touching only those that changed.
export function setCells(row, cells) {
  while (row.children.length < cells.length) row.append(make("td"));
  cells.forEach(({ label, value, className = "" }, index) => {
    const cell = row.children[index];
    cell.dataset.label = label;
    if (cell.className !== className) cell.className = className;
    if (value instanceof Node) cell.replaceChildren(value);
    else if (cell.textContent !== value) cell.textContent = value;
  });
}
