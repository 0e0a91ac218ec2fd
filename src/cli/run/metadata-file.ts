/** `-netdev user,metadata=FILE`: what the guest finds at http://169.254.169.254, from a JSON file. */
import { readFileSync } from "node:fs";
import type { Metadata, MetadataTree } from "../../net/user/metadata.ts";
import type { Complain } from "../key-values.ts";

type Fields = Readonly<Record<string, unknown>>;

const KEYS = ["instanceId", "hostname", "publicKeys", "userData", "ec2", "openstack"];

export function readMetadata(file: string, complain: Complain): Metadata {
  const fields = parse(file, complain);
  for (const key of Object.keys(fields)) {
    if (!KEYS.includes(key))
      throw complain(`metadata=${file}: "${key}" is not a key; ${KEYS.join(", ")} are`);
  }
  const wrong = (key: string, what: string) => complain(`metadata=${file}: ${key} has to be ${what}`);
  const text = (key: string): string | undefined => {
    const value = fields[key];
    if (value !== undefined && typeof value !== "string") throw wrong(key, "a string");
    return value;
  };
  const { publicKeys, ec2, openstack } = fields;
  if (publicKeys !== undefined && !isTexts(publicKeys)) throw wrong("publicKeys", "a list of strings");
  if (ec2 !== undefined && !isTree(ec2)) throw wrong("ec2", "an object of strings and such objects");
  if (openstack !== undefined && !isObject(openstack)) throw wrong("openstack", "an object");
  return {
    instanceId: text("instanceId"),
    hostname: text("hostname"),
    userData: text("userData"),
    publicKeys,
    ec2,
    openstack,
  };
}

function parse(file: string, complain: Complain): Fields {
  let read: unknown;
  try {
    read = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    throw complain(`metadata=${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isObject(read)) throw complain(`metadata=${file}: the file has to be an object in JSON; {} is enough`);
  return read;
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((each) => typeof each === "string");
}

function isTree(value: unknown): value is MetadataTree {
  return isObject(value) && Object.values(value).every((each) => typeof each === "string" || isTree(each));
}
