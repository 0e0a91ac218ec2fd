/** Port 0x80, to which firmware writes POST codes. */
import { ByteWide } from "../../bus/byte-wide.ts";
import { PostCode, PostCodeState } from "../../devices/post-code.ts";
import type { Part } from "../part.ts";

export const postCode: Part<object> = {
  kind: "post-code",
  assemble: (slot) => ({ lock: slot.add(new ByteWide(new PostCode(slot.take(PostCodeState)))) }),
};
