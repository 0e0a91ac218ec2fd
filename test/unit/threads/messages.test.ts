import { expect, test } from "vitest";
import { messagesTo } from "../../../src/threads/messages.ts";

test("messages reach local APICs; to other addresses, which a guest may write too, nothing is sent", () => {
  const sent: number[] = [];
  const messages = messagesTo({ signalMsi: (address) => sent.push(address) > 0 });
  const addresses = [0xfedf_ffff, 0xfee0_0000, 0xfeef_f000, 0xfef0_0000, 0x1_fee0_0000, 0];
  for (const address of addresses) messages.send(address, 0x30);
  expect(sent).toEqual([0xfee0_0000, 0xfeef_f000]);
});
