// The page: who looks at what, and how it stays fresh.

import { logOut, Refused, view } from "./api.js";
import { channel } from "./channel.js";
import { channelAddress, channels } from "./channels.js";
import { connections } from "./connections.js";
import { setText } from "./dom.js";
import { login } from "./login.js";
import { overview } from "./overview.js";
import { Series } from "./series.js";

const EVERY = 1000;         // ms between two looks at the nodes
const NOTICE = 6000;        // ms for which something is told

class Page {
  constructor() {
    this.view = document.getElementById("view");
    this.series = new Series();
    this.system = null;
    this.shown = null;
    this.known = false;
    this.skew = 0;
    this.noticed = 0;
    this.rounds = 0;
    this.timers = {};
  }

  // The server's clock, in seconds since 1970.
  get now() {
    return Date.now() / 1000 + this.skew;
  }

  async ask(name, request) {
    return view(name, request);
  }

  // Does something that may be refused, and tells what came of it; null when it was.
  async attempt(act, done = "") {
    try {
      const answer = await act();
      if (done) this.tell(done);
      return answer;
    } catch (error) {
      if (!this.fail(error)) this.tell(error.message, true);
      return null;
    }
  }

  tell(text, bad = false) {
    const notice = document.getElementById("notice");
    notice.hidden = !text;
    notice.classList.toggle("bad", bad);
    setText(notice, text);
    clearTimeout(this.noticed);
    if (text) this.noticed = setTimeout(() => this.tell(""), NOTICE);
  }

  state(name, text) {
    const state = document.getElementById("state");
    state.dataset.state = name;
    setText(state, text);
  }

  // Whether it was the server that refused, which is shown; what else goes wrong is a mistake of ours.
  fail(error) {
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) {
      if (this.known) this.enter(false);
      return true;
    }
    if (error.status === 0 || error.status >= 500) {
      this.state("away", "No answer");
      return true;
    }
    return false;
  }

  enter(known) {
    this.known = known;
    document.getElementById("top").hidden = !known;
    this.round();
    if (known) {
      this.route();
    } else {
      this.leaveView();
      this.series = new Series();
      this.system = null;
      login(this.view, () => this.enter(true));
    }
  }

  // What was under way before is not wanted any more.
  round() {
    this.rounds += 1;
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    this.timers = {};
  }

  leaveView() {
    this.shown?.close?.();
    this.shown = null;
  }

  route() {
    if (!this.known) return;
    this.round();
    this.leaveView();
    this.tell("");
    const [, where = "", what = ""] = location.hash.split("/");
    let name = "";
    try {
      name = decodeURIComponent(what);
    } catch {
      location.hash = "#/channels";
      return;
    }
    if (where === "channels" && name) {      // as somebody types it
      location.replace(channelAddress(name));
      return;
    }
    const kinds = { channels, connections };
    this.shown = where === "channel" && name ? channel(this, name) : (kinds[where] ?? overview)(this);
    for (const link of document.querySelectorAll("nav a")) {
      const current = link.hash === `#/${where === "channel" ? "channels" : where in kinds ? where : ""}`;
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    scrollTo(0, 0);
    this.look();
    this.refresh();
  }

  repeat(what, after) {
    clearTimeout(this.timers[what]);
    this.timers[what] = setTimeout(() => this[what](), after);
  }

  // The nodes, whatever is shown: the graphs go on.
  async look() {
    const round = this.rounds;
    if (!document.hidden) {
      try {
        const system = await view("nodes", { last: this.series.wanted });
        if (round !== this.rounds) return;
        this.system = system;
        this.skew = system.now - Date.now() / 1000;
        this.series.take(system.nodes);
        const missing = Object.keys(system.missing).length;
        this.state(missing ? "partly" : "live", missing ? `${missing} without an answer` : "Live");
        document.getElementById("leave").hidden = system.open;
        this.shown?.onSystem?.();
      } catch (error) {
        if (round !== this.rounds) return;
        this.fail(error);
        if (!this.known) return;
      }
    }
    this.repeat("look", EVERY);
  }

  async refresh() {
    const { shown, rounds: round } = this;
    if (!shown?.refresh) return;
    if (!document.hidden) {
      try {
        await shown.refresh();
      } catch (error) {
        if (round !== this.rounds) return;
        if (!this.fail(error)) this.tell(error.message, true);
        if (!this.known) return;
      }
    }
    if (round === this.rounds) this.repeat("refresh", shown.every);
  }

  hurry() {
    if (this.shown?.refresh) this.repeat("refresh", 120);
  }
}

const page = new Page();
addEventListener("hashchange", () => page.route());
document.addEventListener("visibilitychange", () => {
  if (!page.known || document.hidden) return;
  page.repeat("look", 0);
  page.hurry();
});
document.getElementById("leave").addEventListener("click", async () => {
  if (await page.attempt(logOut)) page.enter(false);
});
page.enter(true);
