/** A host that opens no sockets, and time that passes by the test's word, for tests of the user network. */
import type { Socket as DatagramSocket } from "node:dgram";
import { EventEmitter } from "node:events";
import { Socket } from "node:net";
import type { Clock } from "../../src/net/user/clock.ts";
import type { Host } from "../../src/net/user/host.ts";

/** What peers outside answer. */
export interface Outside {
  datagrams(data: Buffer): readonly Buffer[];
  stream(data: Buffer): readonly Buffer[] | "end" | "reset";
}

const ECHO: Outside = { datagrams: (data) => [data], stream: (data) => [data] };

/** A socket that connects at once, or refuses. */
class FakeSocket extends Socket {
  readonly #outside: Outside;

  constructor(isOpen: boolean, outside: Outside) {
    super();
    this.#outside = outside;
    queueMicrotask(() => (isOpen ? this.emit("connect") : this.destroy(new Error("refused"))));
  }
  override _write(chunk: Uint8Array, _encoding: string, done: () => void): void {
    const answer = this.#outside.stream(Buffer.from(chunk));
    if (answer === "reset") this.destroy(new Error("reset"));
    else if (answer === "end") this.push(null);
    else for (const each of answer) if (!this.readableEnded) this.push(each);
    done();
  }
  override _read(): void {}
  override _final(done: () => void): void {
    this.push(null);
    done();
  }
}

class FakeDatagrams extends EventEmitter {
  readonly #outside: Outside;

  constructor(outside: Outside) {
    super();
    this.#outside = outside;
  }
  connect(_port: number, _address: string, done: () => void): void {
    queueMicrotask(done);
  }
  getSendQueueSize(): number {
    return 0;
  }
  send(data: Buffer): void {
    queueMicrotask(() => {
      for (const each of this.#outside.datagrams(data)) this.emit("message", each);
    });
  }
  close(): void {
    this.removeAllListeners();
  }
}

function isDatagramSocket(value: unknown): value is DatagramSocket {
  return value instanceof FakeDatagrams;
}

/** Notes where sockets are opened to, and opens none. */
export function fakeHost(outside = ECHO) {
  const opened: string[] = [];
  const host: Host = {
    connect: (address, port) => {
      opened.push(address);
      return new FakeSocket(port !== 22, outside);
    },
    connectPath: () => new FakeSocket(false, outside),
    server: () => {
      throw new Error("nobody listens here");
    },
    datagrams: () => {
      const socket: unknown = new FakeDatagrams(outside);
      if (!isDatagramSocket(socket)) throw new Error("not reached");
      const connect = socket.connect.bind(socket);
      Object.assign(socket, {
        connect: (port: number, address: string, done: () => void) => {
          opened.push(address);
          connect(port, address, done);
        },
      });
      return socket;
    },
    pings: () => {
      const socket: unknown = new FakeDatagrams(outside);
      if (!isDatagramSocket(socket)) throw new Error("not reached");
      const send = socket.send.bind(socket);
      Object.assign(socket, {
        send: (data: Buffer, _port: number, address: string) => {
          opened.push(address);
          send(data);
        },
      });
      return socket;
    },
    nameservers: () => ["192.0.2.53"],
    hostsFile: () => "192.0.2.7 name\n127.0.0.1 localhost\n",
  };
  return { host, opened };
}

/** Time that passes by frames. */
export function fakeClock() {
  let time = 0;
  let ringAt = Number.POSITIVE_INFINITY;
  let ring = () => {};
  const clock: Clock = {
    now: () => time,
    alarm: (callback) => {
      ring = callback;
      return {
        set: (delay) => {
          ringAt = time + delay;
        },
        cancel: () => {
          ringAt = Number.POSITIVE_INFINITY;
        },
      };
    },
  };
  const advance = (ms: number) => {
    time += ms;
    if (time < ringAt) return;
    ringAt = Number.POSITIVE_INFINITY;
    ring();
  };
  return { clock, advance };
}
