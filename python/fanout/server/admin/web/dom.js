// Elements, and rows that stay what they are while their figures change.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name in element && name !== "list" && name !== "role") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Makes a parent's children those of `items`, by their keys: who looks at a row, or has the
// focus in it, keeps it.
export function sync(parent, items, key, create, update) {
  const before = new Map([...parent.children].map((row) => [row.dataset.key, row]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    let row = before.get(name);
    if (row === undefined) {
      row = create(item);
      row.dataset.key = name;
    }
    before.delete(name);
    update(row, item);
    if (row === place) place = place.nextElementSibling;
    else parent.insertBefore(row, place);
  }
  for (const row of before.values()) row.remove();
}

// A button that asks once more before it does what cannot be undone.
export function confirming(label, question, act) {
  let timer = 0;
  const reset = () => {
    clearTimeout(timer);
    timer = 0;
    button.textContent = label;
    button.classList.remove("sure");
  };
  const button = h("button", {
    type: "button",
    className: "small",
    onclick: async () => {
      if (!timer) {
        button.textContent = question;
        button.classList.add("sure");
        timer = setTimeout(reset, 4000);
        return;
      }
      reset();
      button.disabled = true;
      try {
        await act();
      } finally {
        button.disabled = false;
      }
    },
    onblur: () => timer && reset(),
  }, label);
  return button;
}
