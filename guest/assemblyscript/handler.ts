// What the host calls in a handler: `export * from "roadrunner/handler"` in the entry file, in place of `roadrunner/contract`.

import { push } from "./index";

export { allocate_memory, deallocate_memory, locate_memory_region } from "./contract";

export function read_memory_wasm(address: usize, len: u32): void {
  push(address, len);
}
