// Memory that the host knows of: what it has asked for, buffers, answers. All of it is the collector's, which leaves alone what
// stands in one of these maps.

/** Memory from here on begins and ends at a multiple of `PAGE`, in bytes. */
const PAGES_FROM: u32 = 256 << 10;
const PAGE: u32 = 64 << 10;
/** From here on it begins at a multiple of `TABLE`, where pages change hands with the least work (hose/src/pages.rs). */
const TABLES_FROM: u32 = 2 << 20;
const TABLE: u32 = 2 << 20;
/** Longer than this there is no object; less the most that is allocated around a region. */
const LARGEST: u32 = (1 << 30) - 64 - TABLE - PAGE;

/** Bytes in an object that is long enough for them to lie on pages of their own. */
export class Region {
  constructor(
    readonly owner: ArrayBuffer,
    readonly address: usize,
    /** Bytes of all of its pages. */
    readonly len: u32,
  ) {}

  /** Its first bytes. */
  view(len: u32): Uint8Array {
    return Uint8Array.wrap(this.owner, <i32>(this.address - changetype<usize>(this.owner)), len);
  }
}

/** What the host has asked for and not given back, by address. */
const regions = new Map<usize, Region>();
/** What buffers consist of, until they are given away or freed. */
const buffers = new Map<usize, Region>();
/** Answers, by the address of the payload that they are an answer to: the host reads them until it gives that back. */
const answers = new Map<usize, Region>();

/** `len` bytes at least, zeros, with an address even if there are none; null if no object can be that long. */
export function allocate(len: u32): Region | null {
  if (len > LARGEST) return null;
  if (len < PAGES_FROM) {
    const owner = new ArrayBuffer(max<u32>(len, 1));
    return new Region(owner, changetype<usize>(owner), owner.byteLength);
  }
  const size = (len + PAGE - 1) & ~(PAGE - 1);
  const alignment = len < TABLES_FROM ? PAGE : TABLE;
  const owner = new ArrayBuffer(size + alignment);
  return new Region(owner, (changetype<usize>(owner) + alignment - 1) & ~(alignment - 1), size);
}

/** For `contract.ts`: a region for the host, 0 for none. */
export function lend(len: u32): usize {
  const region = allocate(len);
  if (region == null) return 0;
  regions.set(region.address, region);
  return region.address;
}

/** For `contract.ts`: the host has done with a region, and has read the answer to the payload in it. */
export function takeBack(address: usize): void {
  regions.delete(address);
  answers.delete(address);
}

/** The payload that the host has put into a region of its own. */
export function payload(address: usize, len: u32): Uint8Array {
  return regions.get(address).view(len);
}

/** The host knows of a buffer's memory. */
export function keep(region: Region): void {
  buffers.set(region.address, region);
}

/** The host knows of it no more. */
export function forget(region: Region): void {
  buffers.delete(region.address);
}

/** A buffer's memory is the answer to a payload. The earlier answer, if there was one. */
export function keepAsAnswer(payload: usize, region: Region): Region | null {
  const earlier = answers.has(payload) ? answers.get(payload) : null;
  answers.set(payload, region);
  forget(region);
  return earlier;
}
