// What the host calls in every function: `export * from "roadrunner/contract"` in the entry file.

import { locate } from "./index";

/** Larger than this there is no object. */
const LARGEST: u32 = (1 << 30) - 64;

/** A region for the host: an ArrayBuffer that the collector leaves alone until the host gives it back. */
export function allocate_memory(len: u32): usize {
  if (len > LARGEST) return 0;
  return __pin(__new(len, idof<ArrayBuffer>()));
}

export function deallocate_memory(address: usize): void {
  __unpin(address);
}

/** Vouches for what is being sent, and for nothing else. */
export function locate_memory_region(data: usize): i64 {
  return locate(data);
}
