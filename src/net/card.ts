/** What cards of all kinds have in common: their link, and how they report that frames do not arrive. */

/** What the owner of the machine reads and sets. */
interface Link {
  get(): number;
  set(up: number): void;
}

/** @param changed notifies the driver */
export function linkProperty(regs: { linkDown: number }, changed: () => void): Link {
  return {
    get: () => (regs.linkDown === 0 ? 1 : 0),
    set: (up) => {
      if ((regs.linkDown === 0) === (up !== 0)) return;
      regs.linkDown = up === 0 ? 1 : 0;
      changed();
    },
  };
}

/** When to receive again after an error of the host: the interface may be down. */
const ERROR_MS = 100;

interface ReportPlace {
  readonly name: string;
  report(what: { readonly device: string; readonly code: "EIO"; readonly message: string }): void;
}

/** Reports the first error of a card's back end; all of them are tried again. */
export class ReceiveErrors {
  readonly #place: ReportPlace;
  #reported = false;

  constructor(place: ReportPlace) {
    this.#place = place;
  }

  /** Returns the ms after which to receive again. */
  failed(errno: number): number {
    const { name } = this.#place;
    if (!this.#reported) {
      this.#place.report({
        device: name,
        code: "EIO",
        message: `frames cannot be received: errno ${-errno}`,
      });
    }
    this.#reported = true;
    return ERROR_MS;
  }
}
