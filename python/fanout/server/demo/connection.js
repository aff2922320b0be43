// A client of the Centrifuge client protocol, version 2, in JSON over one
// WebSocket: connect, commands and their replies, pings, and coming back after
// a loss. What the channels mean is left to the caller.

// A server that is this late with a promised ping is taken for gone.
const PING_GRACE_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;
const BACKOFF_FIRST_MS = 400;
const BACKOFF_MAX_MS = 15_000;

// Close codes of the client's own making; below 3000 the protocol leaves them to it.
const CODE_NO_PING = 11;
const CODE_BAD_FRAME = 12;
const CODE_CONNECT_TIMEOUT = 13;
const CODE_SESSION_FAILED = 14;

/** An error reply to a command. */
export class CommandError extends Error {
  constructor({ code, message, temporary }) {
    super(message || `error ${code}`);
    this.code = code;
    this.temporary = Boolean(temporary);
  }
}

/** The connection ended before the reply came: whether the command took effect is unknown. */
export class ConnectionLost extends Error {
  constructor() {
    super("the connection was lost");
  }
}

/** Whether a close code tells the client to stay away. */
export function isTerminal(code) {
  // 1009: our own frame was over the server's size limit, and would be again.
  return code === 1009 || (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);
}

/** Milliseconds to wait before the given attempt, counted from 0. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(attempt, 16));
  // Half of it is chance, so that the clients of one dead server come back spread out.
  return ceiling / 2 + (ceiling / 2) * random();
}

export class Connection {
  #url;
  #connectRequest;
  #handlers;
  #socket = null;
  #lastId = 0;
  #pending = new Map();
  #outgoing = [];
  #attempt = 0;
  #sendsPongs = false;
  #pingIntervalMs = 0;
  #watchdog = 0;
  #retry = 0;
  #client = "";

  /**
   * @param {string} url
   * @param {() => object} connectRequest body of the connect command, asked for at each attempt
   * @param {object} handlers
   *   state(name, detail): "connecting"; "online"; "waiting" with {delay} in ms;
   *     "closed" with {code, reason}, after which only restart() goes on
   *   session(): called once connected; "online" waits for the promise it returns
   *   push(push): everything the server says unasked
   */
  constructor(url, connectRequest, handlers) {
    this.#url = url;
    this.#connectRequest = connectRequest;
    this.#handlers = handlers;
  }

  /** The server's id for this connection; "" while there is none. */
  get client() {
    return this.#client;
  }

  /** Opens the connection, or leaves the present one and opens another at once. */
  restart() {
    this.#release(1000, "");
    this.#attempt = 0;
    this.#open();
  }

  /** Cuts a wait for the next attempt short. */
  hurry() {
    if (this.#retry) this.#open();
  }

  /**
   * Sends one command. Resolves with its result object.
   * @throws {CommandError} the server's error reply
   * @throws {ConnectionLost} no reply came
   */
  request(method, params) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return Promise.reject(new ConnectionLost());
    const id = ++this.#lastId;
    this.#send({ id, [method]: params });
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { method, resolve, reject });
    });
  }

  #open() {
    clearTimeout(this.#retry);
    this.#retry = 0;
    this.#handlers.state("connecting", {});
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#watch(CONNECT_TIMEOUT_MS, CODE_CONNECT_TIMEOUT, "no answer");
    // A socket that was left behind may still report; only the present one counts.
    socket.onopen = () => socket === this.#socket && this.#greet(socket);
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#lose(event.code, event.reason);
  }

  async #greet(socket) {
    try {
      const { client, ping = 0, pong = false } = await this.request(
        "connect",
        this.#connectRequest(),
      );
      this.#client = client;
      this.#sendsPongs = pong;
      this.#pingIntervalMs = ping * 1000;
      this.#expectTraffic();
      await this.#handlers.session();
    } catch (error) {
      if (socket !== this.#socket) return;
      if (error instanceof CommandError && !error.temporary) {
        this.#release(1000, "");
        this.#handlers.state("closed", { code: error.code, reason: error.message });
      } else {
        this.#lose(CODE_SESSION_FAILED, error.message);
      }
      return;
    }
    if (socket !== this.#socket) return;
    // Only a whole session counts as success: a server that accepts and then
    // drops everyone must not be asked again at the shortest delay forever.
    this.#attempt = 0;
    this.#handlers.state("online", {});
  }

  #receive(frame) {
    this.#expectTraffic();
    let replies;
    try {
      replies = frame.split("\n").filter(Boolean).map((line) => JSON.parse(line));
    } catch {
      this.#lose(CODE_BAD_FRAME, "unreadable frame");
      return;
    }
    for (const reply of replies) {
      if (reply.id) this.#settle(reply);
      else if (reply.push) this.#handlers.push(reply.push);
      else if (this.#sendsPongs) this.#send({});
    }
  }

  #settle(reply) {
    const waiting = this.#pending.get(reply.id);
    if (!waiting) return;
    this.#pending.delete(reply.id);
    if (reply.error) waiting.reject(new CommandError(reply.error));
    else waiting.resolve(reply[waiting.method] ?? {});
  }

  #send(command) {
    // Commands of one turn of the event loop share a frame.
    if (this.#outgoing.push(JSON.stringify(command)) > 1) return;
    queueMicrotask(() => {
      const frame = this.#outgoing.splice(0).join("\n");
      if (frame && this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(frame);
    });
  }

  #expectTraffic() {
    if (this.#pingIntervalMs) {
      this.#watch(this.#pingIntervalMs + PING_GRACE_MS, CODE_NO_PING, "no ping");
    }
  }

  #watch(ms, code, reason) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#lose(code, reason), ms);
  }

  #lose(code, reason) {
    this.#release(1000, reason);
    if (isTerminal(code)) {
      this.#handlers.state("closed", { code, reason });
      return;
    }
    const delay = backoff(this.#attempt++);
    this.#retry = setTimeout(() => this.#open(), delay);
    this.#handlers.state("waiting", { delay });
  }

  /** Forgets the socket and everything that hangs on it. */
  #release(code, reason) {
    clearTimeout(this.#watchdog);
    clearTimeout(this.#retry);
    this.#retry = 0;
    const socket = this.#socket;
    this.#socket = null;
    this.#client = "";
    this.#pingIntervalMs = 0;
    this.#outgoing.length = 0;
    const abandoned = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject } of abandoned) reject(new ConnectionLost());
    socket?.close(code, reason.slice(0, 40));
  }
}
