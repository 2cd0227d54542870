// What the host calls in every function: `export * from "roadrunner/contract"` in the entry file.

import { locate } from "./index";
import { lend, takeBack } from "./memory";

/** A region for the host, which the collector leaves alone until the host gives it back. */
export function allocate_memory(len: u32): usize {
  return lend(len);
}

export function deallocate_memory(address: usize): void {
  takeBack(address);
}

/** Vouches for what is being sent, and for nothing else. */
export function locate_memory_region(data: usize): i64 {
  return locate(data);
}
