/**
 * Named registers over shared bytes.
 *
 * A layout lists the fields of a state block once; every thread then accesses the
 * same bytes through its own view. Fields are packed in declaration order,
 * little-endian, naturally aligned. The name and version identify the block in
 * a snapshot.
 *
 * Accessors are compiled with `new Function`, in this one place, because V8
 * then inlines each field's offset: 8 to 12 ns for a write and a read on
 * Node 20, against 27 to 38 ns for accessors that close over an offset.
 */

/** Width of one field. `f64` holds counters and times, exact to 2^53; `u64` reads as bigint. */
export type Scalar = "u8" | "u16" | "u32" | "i32" | "u64" | "f64";

/** A scalar, `{ bytes: n }` for a Uint8Array of n, or `{ u32: n }` for a Uint32Array of n. */
export type Field = Scalar | { readonly bytes: number } | { readonly u32: number };

export type Fields = Readonly<Record<string, Field>>;

type FieldValue<F extends Field> = F extends "u64"
  ? bigint
  : F extends Scalar
    ? number
    : F extends { readonly bytes: number }
      ? Uint8Array
      : Uint32Array;

/** A view of one block: each scalar reads and writes the shared bytes, each array is a window on them. */
export type View<F extends Fields> = {
  -readonly [K in keyof F as F[K] extends Scalar ? K : never]: FieldValue<F[K]>;
} & {
  readonly [K in keyof F as F[K] extends Scalar ? never : K]: FieldValue<F[K]>;
};

/** The layout of a state block. */
export interface Layout<F extends Fields = Fields> {
  readonly name: string;
  readonly version: number;
  /** Length in bytes, a multiple of 8. */
  readonly size: number;
  readonly offsets: { readonly [K in keyof F]: number };
  /**
   * Makes a view of `size` bytes of `buffer` from `byteOffset` on.
   *
   * @param byteOffset multiple of 8
   * @throws {RangeError} if the block is unaligned or does not fit.
   */
  view(buffer: ArrayBufferLike, byteOffset: number): View<F>;
}

const ARRAYS = {
  u8: "Uint8Array",
  u16: "Uint16Array",
  u32: "Uint32Array",
  i32: "Int32Array",
  u64: "BigUint64Array",
  f64: "Float64Array",
} as const;
const WIDTH = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, f64: 8 } as const;
const BLOCK_ALIGNMENT = 8;

/** Declares a state block. */
export function layout<const F extends Fields>(name: string, version: number, fields: F): Layout<F> {
  const offsets: Record<string, number> = {};
  const windows: string[] = [];
  const accessors: string[] = [];
  const used = new Set<Scalar>();
  let end = 0;

  const place = (width: number, bytes: number) => {
    const offset = Math.ceil(end / width) * width;
    end = offset + bytes;
    return offset;
  };

  for (const [field, type] of Object.entries(fields)) {
    if (!/^[A-Za-z]\w*$/.test(field)) throw new TypeError(`layout ${name}: "${field}" is not a field name`);
    if (typeof type === "string") {
      const offset = place(WIDTH[type], WIDTH[type]);
      const slot = `this._${type}[${offset / WIDTH[type]}]`;
      used.add(type);
      offsets[field] = offset;
      accessors.push(`get ${field}() { return ${slot}; } set ${field}(value) { ${slot} = value; }`);
    } else {
      const [array, width, count] =
        "bytes" in type ? ["Uint8Array", 1, type.bytes] : ["Uint32Array", 4, type.u32];
      const offset = place(width, width * count);
      offsets[field] = offset;
      windows.push(`this.${field} = new ${array}(buffer, base + ${offset}, ${count});`);
    }
  }

  const size = Math.max(BLOCK_ALIGNMENT, Math.ceil(end / BLOCK_ALIGNMENT) * BLOCK_ALIGNMENT);
  const arrays = [...used].map((t) => `this._${t} = new ${ARRAYS[t]}(buffer, base, ${size / WIDTH[t]});`);
  const source = `return class { constructor(buffer, base) { ${arrays.join(" ")} ${windows.join(" ")} } ${accessors.join(" ")} }`;
  const ViewClass = new Function(source)() as new (buffer: ArrayBufferLike, base: number) => View<F>;

  return {
    name,
    version,
    size,
    offsets: offsets as { [K in keyof F]: number },
    view(buffer, byteOffset) {
      if (byteOffset % BLOCK_ALIGNMENT !== 0 || byteOffset < 0 || byteOffset + size > buffer.byteLength) {
        throw new RangeError(
          `${name}: ${size} bytes at ${byteOffset} do not fit a buffer of ${buffer.byteLength}`,
        );
      }
      return new ViewClass(buffer, byteOffset);
    },
  };
}
