/**
 * What a cloud tells its machines at http://169.254.169.254: the trees of EC2 and OpenStack, from one object, so that a
 * stock cloud image finds its keys and its name, and does not wait.
 */
import { isDeepStrictEqual } from "node:util";

/** A tree of texts: a key is a folder or a file. */
export type MetadataTree = { readonly [name: string]: string | MetadataTree };

export interface Metadata {
  /** Default i-vmexit. An image that sees another id than at its last start is set up anew. */
  readonly instanceId?: string | undefined;
  readonly hostname?: string | undefined;
  /** Lines of authorized_keys. */
  readonly publicKeys?: readonly string[] | undefined;
  readonly userData?: string | undefined;
  /** More of EC2's meta-data/, or other values for what is there. */
  readonly ec2?: MetadataTree | undefined;
  /** More keys of OpenStack's meta_data.json. */
  readonly openstack?: Readonly<Record<string, unknown>> | undefined;
}

const EC2_VERSIONS = ["1.0", "2009-04-04", "latest"];
const OPENSTACK_VERSIONS = ["2012-08-10", "2018-08-27", "latest"];
const TOKEN = "vmexit";

/** Answers requests for metadata. */
export function metadataAnswers(metadata: Metadata): (request: Request) => Response {
  const userData = metadata.userData;
  const ec2 = { ...ec2Tree(metadata), ...metadata.ec2 };
  return (request) => {
    const path = new URL(request.url).pathname.split("/").filter((part) => part !== "");
    const [version, topic, ...rest] = path;
    if (version === undefined) return text([...EC2_VERSIONS, "openstack"].join("\n"));
    if (version === "openstack") return openstackAnswer(metadata, topic, rest);
    if (!EC2_VERSIONS.includes(version)) return notFound();
    switch (topic) {
      case undefined:
        return text(userData === undefined ? "meta-data" : "meta-data\nuser-data");
      case "meta-data":
        return treeAnswer(ec2, rest);
      case "user-data":
        return userData === undefined ? notFound() : text(userData);
      case "api":
        // Version 2 of the service: a token first, which is not needed here and therefore not checked.
        return isDeepStrictEqual(rest, ["token"]) && request.method === "PUT" ? text(TOKEN) : notFound();
      default:
        return notFound();
    }
  };
}

function ec2Tree({ instanceId = "i-vmexit", hostname = "vmexit", publicKeys = [] }: Metadata): MetadataTree {
  return {
    "ami-id": "ami-vmexit",
    "ami-launch-index": "0",
    hostname,
    "instance-id": instanceId,
    "instance-type": "vmexit",
    "local-hostname": hostname,
    placement: { "availability-zone": "local" },
    ...(publicKeys.length > 0 ? { "public-keys": keyTree(publicKeys) } : {}),
  };
}

function keyTree(keys: readonly string[]): MetadataTree {
  return Object.fromEntries(keys.map((key, n) => [String(n), { "openssh-key": key }]));
}

/** A folder lists its entries; a subfolder ends with a slash, and a key is listed with its name, as on EC2. */
function treeAnswer(tree: MetadataTree, path: readonly string[]): Response {
  let node: string | MetadataTree | undefined = tree;
  for (const part of path) {
    node = typeof node === "object" && Object.hasOwn(node, part) ? node[part] : undefined;
    if (node === undefined) return notFound();
  }
  if (typeof node === "string") return text(node);
  const isKeys = path.length === 1 && path[0] === "public-keys";
  const entries = Object.entries(node).map(([name, value]) => {
    if (isKeys) return `${name}=key-${name}`;
    return typeof value === "string" ? name : `${name}/`;
  });
  return text(entries.join("\n"));
}

function openstackAnswer(metadata: Metadata, version: string | undefined, rest: readonly string[]): Response {
  if (version === undefined) return text(OPENSTACK_VERSIONS.join("\n"));
  if (!OPENSTACK_VERSIONS.includes(version)) return notFound();
  const { instanceId = "i-vmexit", hostname = "vmexit", publicKeys = [], userData, openstack } = metadata;
  const [file, ...more] = rest;
  if (more.length > 0) return notFound();
  switch (file) {
    case undefined:
      return text(
        ["meta_data.json", ...(userData === undefined ? [] : ["user_data"]), "vendor_data.json"].join("\n"),
      );
    case "meta_data.json":
      return json({
        uuid: instanceId,
        name: hostname,
        hostname,
        launch_index: 0,
        availability_zone: "local",
        public_keys: Object.fromEntries(publicKeys.map((key, n) => [`key-${n}`, key])),
        ...openstack,
      });
    case "user_data":
      return userData === undefined ? notFound() : text(userData);
    case "vendor_data.json":
      return json({});
    default:
      return notFound();
  }
}

function text(body: string): Response {
  return fixed(body, "text/plain", 200);
}

function json(value: unknown): Response {
  return fixed(JSON.stringify(value), "application/json", 200);
}

function notFound(): Response {
  return fixed("not found\n", "text/plain", 404);
}

/** With a length, which simple clients need to keep a connection. */
function fixed(body: string, type: string, status: number): Response {
  const headers = { "content-type": type, "content-length": String(Buffer.byteLength(body)) };
  return new Response(body, { status, headers });
}
