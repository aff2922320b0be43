// Who is here, drawn as what the server does: one source, a line to everyone,
// and a pulse along all of them when a message goes out.

import { hueOf } from "./identity.js";

const SVG = "http://www.w3.org/2000/svg";
const PEOPLE_SHOWN = 60;
const ROW_PX = 40;
const SPAN_PX = 104;
const PULSE_MS = 620;
const PULSES_APART_MS = 140;

const still = matchMedia("(prefers-reduced-motion: reduce)");

export class Fan {
  #lines;
  #people;
  #count;
  #rows = new Map();
  #pulsedAt = -Infinity;

  constructor({ lines, people, count }) {
    this.#lines = lines;
    this.#people = people;
    this.#count = count;
  }

  /** Shows these people; `isOwn(client)` tells which one is this page. */
  show(people, isOwn) {
    const all = [...people.values()].map((info) => ({
      client: info.client,
      name: String(info.conn_info?.name || info.user || "Someone").slice(0, 64),
      own: isOwn(info.client),
    }));
    all.sort((a, b) => b.own - a.own || a.name.localeCompare(b.name) || (a.client < b.client ? -1 : 1));
    const shown = all.slice(0, PEOPLE_SHOWN);

    const rows = new Map();
    for (const person of shown) {
      rows.set(person.client, this.#rows.get(person.client) ?? this.#row(person));
    }
    this.#rows = rows;
    this.#people.replaceChildren(...[...rows.values()].map(({ item }) => item));
    if (all.length > shown.length) {
      const more = document.createElement("li");
      more.className = "more";
      more.textContent = `and ${(all.length - shown.length).toLocaleString()} more`;
      this.#people.append(more);
    }
    this.#count.textContent = all.length.toLocaleString();
    this.#draw();
  }

  /** Sends one pulse down every line. */
  pulse() {
    const now = performance.now();
    if (still.matches || document.hidden || now - this.#pulsedAt < PULSES_APART_MS) return;
    this.#pulsedAt = now;
    for (const { spark, dot } of this.#rows.values()) {
      spark.animate(
        [
          { strokeDashoffset: 0.24, opacity: 1 },
          { strokeDashoffset: -0.8, opacity: 1, offset: 0.85 },
          { strokeDashoffset: -1, opacity: 0 },
        ],
        { duration: PULSE_MS, easing: "cubic-bezier(.3,.1,.4,1)" },
      );
      dot.animate(
        [{ boxShadow: "0 0 0 0 var(--signal)" }, { boxShadow: "0 0 0 9px transparent" }],
        { duration: 520, delay: PULSE_MS * 0.72, easing: "ease-out" },
      );
    }
  }

  #row({ name, own }) {
    const item = document.createElement("li");
    item.classList.toggle("own", own);
    const dot = document.createElement("span");
    dot.className = "dot";
    dot.style.setProperty("--hue", hueOf(name));
    const label = document.createElement("bdi");
    label.className = "who";
    label.textContent = name;
    item.append(dot, label);
    if (own) {
      const you = document.createElement("span");
      you.className = "you";
      you.textContent = "you";
      item.append(you);
    }
    const line = document.createElementNS(SVG, "path");
    const spark = document.createElementNS(SVG, "path");
    spark.setAttribute("class", "spark");
    spark.setAttribute("pathLength", "1");
    return { item, dot, line, spark };
  }

  #draw() {
    const height = this.#people.childElementCount * ROW_PX;
    const middle = height / 2;
    const bend = SPAN_PX * 0.55;
    [...this.#rows.values()].forEach(({ line, spark }, index) => {
      const y = index * ROW_PX + ROW_PX / 2;
      const d = `M0 ${middle}C${bend} ${middle} ${SPAN_PX - bend} ${y} ${SPAN_PX} ${y}`;
      line.setAttribute("d", d);
      spark.setAttribute("d", d);
    });
    const source = document.createElementNS(SVG, "circle");
    source.setAttribute("cx", "0");
    source.setAttribute("cy", String(middle));
    source.setAttribute("r", "6");
    const rows = [...this.#rows.values()];
    this.#lines.setAttribute("width", String(SPAN_PX));
    this.#lines.setAttribute("height", String(height));
    this.#lines.replaceChildren(
      ...rows.map(({ line }) => line),
      ...rows.map(({ spark }) => spark),
      ...(rows.length ? [source] : []),
    );
  }
}
