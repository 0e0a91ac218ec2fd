/** A network card of a machine: its link. */
import type { Outlet, PartHandle } from "./outlet.ts";

export class VmNetwork implements Outlet {
  /** As its options name it: `vm.networks.find(({ id }) => id === "n0")`. */
  readonly id: string | undefined;
  readonly mac: string;
  #part: PartHandle | undefined;
  /** A reset keeps it. */
  #isUp = true;

  constructor(id: string | undefined, mac: string) {
    this.id = id;
    this.mac = mac;
  }

  /** Whether the cable is plugged in. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Plugs the cable in, or pulls it out. The guest's driver notices; frames in both directions are lost meanwhile. */
  setLink(isUp: boolean): void {
    this.#isUp = isUp;
    this.#part?.set("link", isUp ? 1 : 0);
    this.changeServer();
  }

  /** @internal The card's queues may have to be served by the kernel now, or no longer. */
  changeServer(): void {
    this.#part?.notify();
  }

  /** Asks the guest to tell the network where it is, as after a move to another host. */
  announce(): void {
    this.#part?.set("announce", 1);
  }

  plug(part: PartHandle): void {
    this.#part = part;
    if (this.#isUp)
      this.#isUp = part.get("link") !== 0; // of a machine that continues
    else part.set("link", 0);
  }

  finish(): void {
    this.#part = undefined;
  }
}
