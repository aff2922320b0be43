// Lines over the last minutes, drawn on a canvas; the pointer shows what was when.

import { h, setText } from "./dom.js";
import { KEPT } from "./series.js";

const clock = new Intl.DateTimeFormat("en", { timeStyle: "medium", hour12: false });
const LEFT = 46;
const BELOW = 18;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// The least round number that is not below `value`.
function ceiling(value, least) {
  if (value <= least) return least;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}

export class Chart {
  // `lines` are { name, field, color }; `show` makes text of a value.
  constructor(title, lines, show, { least = 4, shown = show } = {}) {
    this.title = title;
    this.lines = lines;
    this.show = show;
    this.shown = shown;
    this.least = least;
    this.samples = [];
    this.at = null;
    this.canvas = h("canvas", { role: "img" });
    this.values = lines.map(() => h("output", { className: "value" }));
    this.when = h("span", { className: "when" });
    this.element = h("section", { className: "card chart" },
      h("h2", {}, title, this.when),
      h("dl", { className: "legend" }, lines.map((line, index) =>
        h("div", { data: { color: line.color } }, h("dt", {}, line.name), h("dd", {}, this.values[index])))),
      this.canvas);
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX));
    this.canvas.addEventListener("pointerleave", () => this.point(null));
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.canvas);
  }

  close() {
    this.observer.disconnect();
  }

  take(samples) {
    this.samples = samples;
    this.draw();
  }

  point(x) {
    this.at = x;
    this.draw();
  }

  draw() {
    const { canvas, samples } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !height) return;
    const ratio = window.devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const end = samples.length ? samples.at(-1).t : Date.now() / 1000;
    const span = width < 360 ? KEPT / 2 : KEPT;
    const inside = samples.filter(({ t }) => t >= end - span);
    const top = ceiling(Math.max(0, ...inside.flatMap((sample) =>
      this.lines.map(({ field }) => sample[field]))), this.least);
    const x = (t) => LEFT + (width - LEFT - 4) * (1 - (end - t) / span);
    const y = (value) => 6 + (height - BELOW - 6) * (1 - value / top);
    this.grid(pen, { width, height, top, y, x, end, span });
    for (const line of this.lines) this.line(pen, line, inside, x, y, height);
    this.tell(pen, inside, x, y, height);
  }

  grid(pen, { width, height, top, y, x, end, span }) {
    pen.font = `11px ${color("mono")}`;
    pen.fillStyle = color("soft");
    pen.strokeStyle = color("line");
    pen.lineWidth = 1;
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (const share of [0, 0.5, 1]) {
      const height = Math.round(y(top * share)) + 0.5;
      pen.beginPath();
      pen.moveTo(LEFT, height);
      pen.lineTo(width, height);
      pen.stroke();
      pen.fillText(this.shown(top * share), LEFT - 6, height);
    }
    pen.textBaseline = "alphabetic";
    for (let minute = Math.ceil((end - span) / 60) * 60; minute <= end; minute += 60) {
      pen.textAlign = x(minute) > width - 24 ? "right" : "center";
      if (x(minute) > LEFT + 14) pen.fillText(clock.format(minute * 1000).slice(0, 5), x(minute), height - 3);
    }
  }

  line(pen, line, samples, x, y, height) {
    const stroke = color(line.color);
    pen.strokeStyle = stroke;
    pen.fillStyle = stroke;
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    // Where seconds are missing, so is the line.
    const parts = [];
    for (const sample of samples) {
      if (!parts.length || sample.t - parts.at(-1).at(-1).t > 3) parts.push([]);
      parts.at(-1).push(sample);
    }
    for (const part of parts) {
      pen.beginPath();
      part.forEach((sample, index) => pen[index ? "lineTo" : "moveTo"](x(sample.t), y(sample[line.field])));
      pen.stroke();
      pen.lineTo(x(part.at(-1).t), height - BELOW);
      pen.lineTo(x(part[0].t), height - BELOW);
      pen.globalAlpha = 0.1;
      pen.fill();
      pen.globalAlpha = 1;
    }
  }

  // The values of the last second, or of the one that the pointer is on.
  tell(pen, samples, x, y, height) {
    let sample = samples.at(-1);
    if (this.at !== null && samples.length) {
      sample = samples.reduce((best, each) =>
        Math.abs(x(each.t) - this.at) < Math.abs(x(best.t) - this.at) ? each : best);
      pen.strokeStyle = color("edge");
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x(sample.t), 4);
      pen.lineTo(x(sample.t), height - BELOW);
      pen.stroke();
      for (const line of this.lines) {
        pen.fillStyle = color(line.color);
        pen.beginPath();
        pen.arc(x(sample.t), y(sample[line.field]), 3, 0, 7);
        pen.fill();
      }
    }
    setText(this.when, this.at !== null && sample ? clock.format(sample.t * 1000) : "");
    const values = this.lines.map(({ field }) => (sample ? this.show(sample[field]) : "–"));
    values.forEach((value, index) => setText(this.values[index], value));
    this.canvas.setAttribute("aria-label",
      `${this.title}: ${this.lines.map(({ name }, index) => `${name} ${values[index]}`).join(", ")}`);
  }
}

// A node's line in its row, without numbers.
export function spark(canvas, samples, field) {
  const { clientWidth: width, clientHeight: height } = canvas;
  if (!width) return;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const shown = samples.slice(-60);
  const top = Math.max(1, ...shown.map((sample) => sample[field]));
  pen.strokeStyle = color("accent");
  pen.lineWidth = 1.5;
  pen.beginPath();
  shown.forEach((sample, index) => pen[index ? "lineTo" : "moveTo"](
    width - (shown.length - 1 - index) * (width / 59), height - 2 - (height - 4) * (sample[field] / top)));
  pen.stroke();
}
