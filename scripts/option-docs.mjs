/**
 * Writes what is said of options from their tables in src/config: the comments
 * above the rows, and parts of docs/cli.md and docs/library.md.
 *
 *   npm run build && node scripts/option-docs.mjs
 *
 * Needed after a change of a table; a test compares.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const WIDTH = 110;

/**
 * The files that say something of options, as they have to be.
 *
 * @param read gives the present text of a file by its path in the project
 * @returns texts by path
 */
export function documents(
  { machine, devices, trace, runHelp, deviceHelp, keysHelp, exitStatuses, otherOptions },
  read,
) {
  const drive = devices.drives.device.options;
  const own = machine.devices.type.rows;
  const limits = drive.throttling.type.rows;
  const texts = new Map();
  const edit = (path, change) => texts.set(path, change(texts.get(path) ?? read(path)));

  edit("src/config/machine.ts", (text) => commented(text, "MACHINE", machine));
  edit("src/config/machine.ts", (text) => commented(text, "OWN_DEVICE", own));
  edit("src/config/machine.ts", (text) => commented(text, "CLOUD_INIT", machine.cloudInit.type.rows));
  edit("src/config/trace.ts", (text) => commented(text, "TRACE", trace));
  edit("src/config/devices.ts", (text) => commented(text, "DEVICES", devices));
  for (const { device } of Object.values(devices)) {
    edit(`src/config/devices/${device.kind}.ts`, (text) => commented(text, "OPTIONS", device.options));
  }
  edit("src/config/devices/virtio-blk.ts", (text) => commented(text, "THROTTLING", limits));
  edit("docs/trace.md", (text) => between(text, "options of vm.trace", rows(trace, "filter")));
  edit("docs/cli.md", (text) => between(text, "vmexit run --help", fenced(runHelp())));
  edit("docs/cli.md", (text) => between(text, "vmexit run -device help", fenced(deviceHelp())));
  edit("docs/cli.md", (text) => between(text, "keys", fenced(keysHelp.trimStart())));
  edit("docs/cli.md", (text) => between(text, "exit statuses", statusRows(exitStatuses)));
  edit("docs/cli.md", (text) => between(text, "other options of QEMU", otherRows(otherOptions)));
  edit("docs/library.md", (text) => between(text, "options of createVm", rows(machine, "option")));
  edit("docs/library.md", (text) => between(text, "options of a drive", rows(drive, "option")));
  const others = Object.entries(devices).filter(([, { isMany, isSaved }]) => !isMany || isSaved);
  const nested = others.flatMap(([option, { device, isMany }]) =>
    Object.entries(device.options).map(([name, row]) => [`${option}${isMany ? "[N]" : ""}.${name}`, row]),
  );
  edit("docs/library.md", (text) =>
    between(text, "options of other devices", rows(Object.fromEntries(nested), "option")),
  );
  return texts;
}

/** `text` with a comment above each row of the table that is the constant `name`. */
function commented(text, name, table) {
  const start = text.indexOf(`const ${name} = table({\n`);
  const end = text.indexOf("\n});\n", start);
  if (start < 0 || end < 0) throw new Error(`there is no table ${name}`);
  let body = text.slice(start, end);
  for (const [option, row] of Object.entries(table)) {
    const place = new RegExp(`\n(?:  /\\*\\*(?:(?!\\*/)[^])*\\*/\n)?  ${option}(?=[:,])`);
    body = body.replace(place, () => `\n${comment(row)}\n  ${option}`);
  }
  return text.slice(0, start) + body + text.slice(end);
}

function comment(row) {
  const words = `${sentence(row.help)}${row.required === undefined && defaultOf(row) ? ` Default: ${defaultOf(row)}.` : ""}`;
  if (words.length + "  /**  */".length <= WIDTH) return `  /** ${words} */`;
  const lines = [];
  for (const word of words.split(" ")) {
    const line = lines.at(-1);
    if (line === undefined || line.length + 1 + word.length > WIDTH - "   * ".length) lines.push(word);
    else lines[lines.length - 1] = `${line} ${word}`;
  }
  return ["  /**", ...lines.map((line) => `   * ${line}`), "   */"].join("\n");
}

/** The rows of a table of the manual. */
function rows(table, title) {
  const lines = Object.entries(table).map(([option, row]) => {
    const value = row.type.manual.replaceAll("|", "\\|");
    const otherwise = row.required === undefined ? (defaultOf(row) ?? "none") : "required";
    const more = row.see === undefined ? "" : ` ([more](${row.see.replace(/^library\.md/, "")}))`;
    return `| \`${option}\` | ${value} | ${otherwise} | ${row.help}${more} |`;
  });
  return [`| ${title} | value | default | |`, "|---|---|---|---|", ...lines].join("\n");
}

function statusRows(statuses) {
  const lines = statuses.map(({ status, meaning }) => `| ${status} | ${meaning} |`);
  return ["| Status | Meaning |", "|---|---|", ...lines].join("\n");
}

function otherRows(options) {
  const lines = options.map(({ name, answer }) => `| \`-${name}\` | ${answer.replaceAll("|", "\\|")} |`);
  return ["| option of QEMU | here |", "|---|---|", ...lines].join("\n");
}

function defaultOf({ default: value, otherwise }) {
  if (otherwise !== undefined) return otherwise;
  return value === undefined ? undefined : `\`${JSON.stringify(value)}\``;
}

function sentence(clause) {
  return `${clause[0].toUpperCase()}${clause.slice(1)}.`;
}

function fenced(text) {
  return `\`\`\`\n${text}\`\`\``;
}

/** `text` with `content` between its two marks. */
function between(text, mark, content) {
  const start = `<!-- ${mark}: written by scripts/option-docs.mjs -->\n`;
  const end = "\n<!-- end -->";
  const from = text.indexOf(start);
  const to = text.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`the mark is missing: ${mark}`);
  return text.slice(0, from + start.length) + content + text.slice(to);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { MACHINE } = await import("../dist/config/machine.js");
  const { TRACE } = await import("../dist/config/trace.js");
  const { DEVICES } = await import("../dist/config/devices.js");
  const { otherOptionRows, runHelp } = await import("../dist/cli/run/command-line.js");
  const { deviceHelp } = await import("../dist/cli/run/drive-options.js");
  const { KEYS_HELP } = await import("../dist/cli/run/escape-filter.js");
  const { EXIT_STATUSES } = await import("../dist/cli/exit-status.js");
  const tables = {
    ...{ machine: MACHINE, devices: DEVICES, trace: TRACE, runHelp, deviceHelp },
    ...{ keysHelp: KEYS_HELP, exitStatuses: EXIT_STATUSES, otherOptions: otherOptionRows() },
  };
  const file = (path) => new URL(`../${path}`, import.meta.url);
  const texts = documents(tables, (path) => readFileSync(file(path), "utf8"));
  for (const [path, text] of texts) writeFileSync(file(path), text);
}
