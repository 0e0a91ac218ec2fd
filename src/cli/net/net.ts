/** `vmexit net`: bridges and tap interfaces of the host. */
import { didYouMean } from "../../base/errors.ts";
import { FAILED, OK, type Outcome, USAGE } from "../exit-status.ts";
import { examine } from "./doctor.ts";
import type { NetHost } from "./net-host.ts";
import { type SetUp, SetUpError, setUp, tearDown } from "./set-up.ts";

interface Output {
  write(text: string): unknown;
}

const VERBS = ["up", "down", "show", "doctor"];

const HELP = `Usage: vmexit net VERB BRIDGE [OPTION]...

Bridges and tap interfaces of the host, for machines that are connected to them:
vmexit run ... -nic tap,ifname=tap0,script=no,downscript=no

  up BRIDGE       makes a bridge, and prints each line that does it
    --ip A/N        the bridge's address, as in 192.168.10.1/24
    --tap NAME      makes a tap interface and adds it to the bridge; may be repeated
    --user NAME     who may open them (default: who typed sudo)
    --nat           guests reach what the host reaches
    --dhcp          guests get addresses (by dnsmasq)
    --dry-run       prints the lines, and changes nothing
  down BRIDGE     undoes what up did, and nothing else
  show BRIDGE     prints the bridge, its addresses and its ports
  doctor BRIDGE   says why guests have no network, and the line that mends it
`;

class UsageError extends Error {}

export function netCommand(argv: readonly string[], host: NetHost, stdout: Output, stderr: Output): Outcome {
  const print = (line: string) => void stdout.write(`${line}\n`);
  const [verb, bridge, ...rest] = argv;
  try {
    if (verb === undefined || verb === "--help" || verb === "-h" || bridge === "--help") {
      stdout.write(HELP);
      return verb === undefined ? USAGE : OK;
    }
    if (!VERBS.includes(verb)) {
      throw new UsageError(
        `unknown verb "${verb}"${didYouMean(verb, VERBS)}; it is one of ${VERBS.join(", ")}`,
      );
    }
    if (bridge === undefined) throw new UsageError(`the bridge is missing, as in vmexit net ${verb} br0`);
    checkName(bridge);
    if (verb === "up") {
      setUp(host, readOptions(bridge, rest, host.user), print);
      return OK;
    }
    if (rest.length > 0)
      throw new UsageError(`"${rest[0]}": vmexit net ${verb} takes the name of a bridge alone`);
    if (verb === "down") {
      tearDown(host, bridge, print);
      return OK;
    }
    if (verb === "show") return show(host, bridge, print);
    const findings = examine(host, bridge);
    for (const { isGood, text, mend } of findings) {
      print(`${isGood ? "ok  " : "no  "} ${text}`);
      if (mend !== undefined) print(`       ${mend}`);
    }
    return findings.every(({ isGood }) => isGood) ? OK : FAILED;
  } catch (error) {
    if (!(error instanceof SetUpError || error instanceof UsageError)) throw error;
    stderr.write(`vmexit net: ${error.message}\n`);
    return error instanceof UsageError ? USAGE : FAILED;
  }
}

function show(host: NetHost, bridge: string, print: (line: string) => void): Outcome {
  if (!host.exists(`/sys/class/net/${bridge}`)) throw new SetUpError(`there is no interface ${bridge}`);
  for (const line of [
    ["ip", "-br", "link", "show", "dev", bridge],
    ["ip", "-br", "addr", "show", "dev", bridge],
    ["ip", "-br", "link", "show", "master", bridge],
  ]) {
    print(`# ${line.join(" ")}`);
    print(host.run(line).output.trimEnd());
  }
  return OK;
}

function readOptions(bridge: string, words: readonly string[], user: string): SetUp {
  const wanted: { -readonly [K in keyof SetUp]: SetUp[K] } & { taps: string[] } = {
    ...{ bridge, ip: undefined, taps: [], user, dhcp: false, nat: false, dryRun: false },
  };
  const queue = words.flatMap((word) => {
    const attached = /^(--[a-z-]+)=(.*)$/.exec(word);
    return attached === null ? [word] : [attached[1], attached[2]];
  });
  const value = (option: string): string => {
    const next = queue.shift();
    if (next === undefined || next.startsWith("--")) throw new UsageError(`${option} needs a value`);
    return next;
  };
  for (let word = queue.shift(); word !== undefined; word = queue.shift()) {
    switch (word) {
      case "--ip":
        wanted.ip = checkIp(value(word));
        break;
      case "--tap":
        wanted.taps.push(checkName(value(word)));
        break;
      case "--user":
        wanted.user = value(word);
        break;
      case "--dhcp":
        wanted.dhcp = true;
        break;
      case "--nat":
        wanted.nat = true;
        break;
      case "--dry-run":
        wanted.dryRun = true;
        break;
      default:
        throw new UsageError(`unknown option "${word}"; vmexit net --help lists the options`);
    }
  }
  return wanted;
}

function checkName(name: string): string {
  if (/^[A-Za-z0-9][\w.:-]{0,14}$/.test(name)) return name;
  throw new UsageError(`"${name}" is not the name of an interface (1 to 15 letters, digits, . _ and -)`);
}

function checkIp(ip: string): string {
  const found = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\/(\d{1,2})$/.exec(ip);
  if (found?.slice(1, 5).every((part) => Number(part) < 256) && Number(found[5]) <= 32) return ip;
  throw new UsageError(`--ip "${ip}": give an address and the length of its network, as in 192.168.10.1/24`);
}
