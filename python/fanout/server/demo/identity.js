// Who this tab is: a name of its own, and which connections were its own.
// Both live in sessionStorage, so that two tabs are two people and a reload
// stays the same one.

const NAME_LIMIT = 32;
const CLIENTS_KEPT = 40;

const FIRST = (
  "Amber Brisk Calm Copper Early Gentle Golden Hazel Hidden Keen Lively Lucid Mellow Misty " +
  "Nimble Noble Northern Patient Quiet Rapid Russet Silver Steady Sunlit Tidal Velvet Wild Winter"
).split(" ");
const SECOND = (
  "Avocet Bittern Curlew Dipper Dunlin Egret Fieldfare Finch Gannet Godwit Heron Ibis Jackdaw " +
  "Kestrel Lapwing Linnet Martin Merlin Osprey Petrel Plover Puffin Redstart Siskin Tern Wagtail Wren"
).split(" ");

function pick(words) {
  return words[crypto.getRandomValues(new Uint32Array(1))[0] % words.length];
}

/** The name as it is shown and sent; "" when nothing is left of it. */
export function tidyName(name) {
  return name.replace(/\s+/gu, " ").trim().slice(0, NAME_LIMIT).trim();
}

export class Identity {
  #store;
  #clients;

  constructor(store) {
    this.#store = store;
    // A duplicated tab starts with a copy of the other's storage. The mark is
    // taken off whenever a page goes away, so one that is still there was copied.
    if (store.getItem("fanout.open")) store.clear();
    this.#clients = JSON.parse(store.getItem("fanout.clients") ?? "[]");
    addEventListener("pageshow", () => store.setItem("fanout.open", "1"));
    addEventListener("pagehide", () => store.removeItem("fanout.open"));
    store.setItem("fanout.open", "1");
    if (!this.name) this.name = `${pick(FIRST)} ${pick(SECOND)}`;
  }

  get name() {
    return this.#store.getItem("fanout.name") ?? "";
  }

  set name(name) {
    this.#store.setItem("fanout.name", tidyName(name));
  }

  /** Remembers a connection as this tab's, so that its messages are known as own. */
  addClient(client) {
    this.#clients = [...this.#clients, client].slice(-CLIENTS_KEPT);
    this.#store.setItem("fanout.clients", JSON.stringify(this.#clients));
  }

  owns(client) {
    return this.#clients.includes(client);
  }
}

/** A hue in degrees that stays with a name. */
export function hueOf(name) {
  let hash = 2166136261;
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  return (hash >>> 0) % 360;
}
