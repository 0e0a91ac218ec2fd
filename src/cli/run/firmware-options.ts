/**
 * Options of `vmexit run` for what firmware and guest of a PC are given: files by fw_cfg, and fields of
 * SMBIOS tables.
 *
 * Source: QEMU 11.1, qemu-options.hx (-fw_cfg, -smbios).
 */
import { keysOf, readKeys } from "../../config/keys.ts";
import type { SmbiosTable } from "../../config/machine.ts";
import { table } from "../../config/schema.ts";
import { refused, text } from "../../config/value.ts";
import { splitKeyValues } from "../key-values.ts";
import type { OptionRow } from "./option-row.ts";

const FW_CFG_KEYS = keysOf(
  table({
    name: { type: text("NAME"), required: "give a name, and a file or a string", help: "" },
    file: { type: text("FILE"), help: "" },
    string: { type: text("TEXT"), help: "" },
    gen_id: { type: refused("no object makes such files"), help: "" },
  }),
);

export const FIRMWARE_OPTIONS: readonly OptionRow[] = [
  {
    names: ["pflash"],
    argument: "FILE",
    example: "-pflash OVMF.fd",
    help: "-drive if=pflash,format=raw,file=FILE",
    apply: (draft, file, typed) => {
      draft.flash.chips.push({ typed, options: { file } });
    },
  },
  {
    names: ["fw_cfg"],
    argument: "[name=]NAME,file=FILE|string=TEXT",
    example: "-fw_cfg opt/com.example/key,string=value",
    help: "a file that firmware and guest of a pc find by fw_cfg; its name should begin with opt/",
    apply: (draft, value, typed, complain) => {
      const { name = "", file, string } = readKeys(splitKeyValues(value, "name"), FW_CFG_KEYS, complain);
      if ((file === undefined) === (string === undefined)) throw complain("give either file= or string=");
      if (!name.startsWith("opt/")) {
        draft.notes.push(`${typed}: names of such files should begin with opt/, as in opt/com.example/file`);
      }
      const given = file === undefined ? { name, string: string ?? "" } : { name, file };
      draft.vm.fwCfg = [...(draft.vm.fwCfg ?? []), given];
    },
  },
  {
    names: ["smbios"],
    argument: "type=N[,FIELD=TEXT]…",
    example: "-smbios type=1,serial=42",
    help: "fields of an SMBIOS table of type 0, 1, 2, 3, 4, 11 or 17, which a pc's firmware passes on",
    apply: (draft, value, _typed, complain) => {
      const fields: Record<string, string | string[]> & { type?: string } = {};
      for (const { key, value: text } of splitKeyValues(value)) {
        if (key === "file")
          throw complain("tables from a file are not possible; set fields with type=N,FIELD=TEXT");
        if (key === "value" || key === "path") fields[key] = [...(fields[key] ?? []), text];
        else fields[key] = text;
      }
      const { type } = fields;
      if (type === undefined) throw complain("type= is missing, as in type=1,serial=42");
      const given: SmbiosTable = { ...fields, type };
      draft.vm.smbios = [...(draft.vm.smbios ?? []), given];
    },
  },
];
