/**
 * Separates the command's own keys from the input for the guest: Ctrl-A and a
 * letter, as with QEMU's -nographic. One differs: QEMU's Ctrl-A s writes the changes
 * that -snapshot keeps to the images; here it saves the machine.
 */

const CTRL_A = 0x01;

/** What a key after Ctrl-A means. */
export type EscapeKey =
  | { readonly kind: "quit" }
  | { readonly kind: "help" }
  | { readonly kind: "resume" }
  | { readonly kind: "save" }
  | { readonly kind: "unknown"; readonly byte: number };

export const KEYS_HELP = `
Ctrl-A x       quit: stop the guest at once
Ctrl-A r       resume a guest that is paused: a disk failed, or it was saved
Ctrl-A s       save the machine, as vmexit run -savevm says
Ctrl-A h       show this list
Ctrl-A Ctrl-A  send Ctrl-A to the guest (also Ctrl-A a)
`;

export class EscapeFilter {
  #escaped = false;

  /** Divides a chunk of input. A Ctrl-A at its end belongs to the first byte of the next chunk. */
  take(typed: Uint8Array): { readonly forGuest: Uint8Array; readonly keys: readonly EscapeKey[] } {
    const forGuest = new Uint8Array(typed.length);
    const keys: EscapeKey[] = [];
    let length = 0;
    for (const byte of typed) {
      if (this.#escaped) {
        this.#escaped = false;
        const key = meaning(byte);
        if (key === undefined) forGuest[length++] = CTRL_A;
        else keys.push(key);
      } else if (byte === CTRL_A) {
        this.#escaped = true;
      } else {
        forGuest[length++] = byte;
      }
    }
    return { forGuest: forGuest.subarray(0, length), keys };
  }
}

/** Undefined for the keys that send Ctrl-A itself. */
function meaning(byte: number): EscapeKey | undefined {
  switch (String.fromCharCode(byte)) {
    case "\x01":
    case "a":
      return undefined;
    case "x":
      return { kind: "quit" };
    case "r":
      return { kind: "resume" };
    case "s":
      return { kind: "save" };
    case "h":
    case "?":
      return { kind: "help" };
    default:
      return { kind: "unknown", byte };
  }
}
