/** Streams between the program and programs of the guest. */
import type { VsockConnectOptions, VsockHost, VsockListener } from "../../net/vsock/vsock-host.ts";
import type { VsockStream } from "../../net/vsock/vsock-stream.ts";
import type { Outlet, PartHandle } from "./outlet.ts";

export class VmVsock implements Outlet {
  /** The guest's address. */
  readonly cid: number;
  readonly #host: VsockHost | undefined;
  #part: PartHandle | undefined;

  /** @param host undefined: the kernel connects the guest */
  constructor(cid: number, host: VsockHost | undefined) {
    this.cid = cid;
    this.#host = host;
  }

  /**
   * Connects to a port at which a program of the guest listens. The stream emits "connect" when that has
   * accepted, or an error with the code ECONNREFUSED. A reset, a rewind and the machine's end close it.
   *
   * @throws {TypeError} with the option vhost: then any program connects, by a socket of AF_VSOCK
   */
  connect(port: number, options?: VsockConnectOptions): VsockStream {
    return this.#connected.connect(port, options);
  }

  /**
   * Calls `accept` with each connection that a program of the guest makes to `port` of CID 2, the host.
   *
   * @throws {VsockError} EADDRINUSE; {TypeError} with the option vhost
   */
  listen(port: number, accept: (stream: VsockStream) => void, options?: VsockConnectOptions): VsockListener {
    return this.#connected.listen(port, accept, options);
  }

  plug(part: PartHandle): void {
    this.#part = part;
    // Of a machine that continues from a snapshot: its connections are not here.
    part.set("connectionsLost", 1);
  }

  rewound(): void {
    this.#host?.loseAll();
    this.#part?.set("connectionsLost", 1);
    this.#part?.notify();
  }

  finish(): void {
    this.#part = undefined;
    this.#host?.close();
  }

  get #connected(): VsockHost {
    if (this.#host !== undefined) return this.#host;
    throw new TypeError(`the kernel connects this guest: use a socket of AF_VSOCK, with the CID ${this.cid}`);
  }
}
