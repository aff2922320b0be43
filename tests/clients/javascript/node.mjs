// The agent in Node, with what Node lacks: a line of JSON in, a line of JSON out.

import { createInterface } from "node:readline";
import { Centrifuge } from "centrifuge";
import { Centrifuge as ProtobufCentrifuge } from "centrifuge/build/protobuf";
import EventSource from "eventsource";
import WebSocket from "ws";

import { agent } from "./agent.mjs";

const receive = agent({
  builds: { json: Centrifuge, protobuf: ProtobufCentrifuge },
  surroundings: { websocket: WebSocket, eventsource: EventSource, fetch, readableStream: ReadableStream },
  tell: (message) => process.stdout.write(`${JSON.stringify(message)}\n`),
});

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => receive(JSON.parse(line)));
lines.on("close", () => process.exit(0));
