// The host's functions, as they are.

@external("roadrunner", "send_to_host")
export declare function send_to_host(address: usize, len: u32): i32;
@external("roadrunner", "send_to")
export declare function send_to(name: usize, nameLen: u32, address: usize, len: u32): i32;
@external("roadrunner", "give_to_host")
export declare function give_to_host(name: usize, nameLen: u32, address: usize, len: u32): i32;
@external("roadrunner", "call")
export declare function call(name: usize, nameLen: u32, address: usize, len: u32): i64;
@external("roadrunner", "answer")
export declare function answer(payload: usize, address: usize, len: u32): i32;
@external("roadrunner", "prepare_memory")
export declare function prepare_memory(address: usize, len: u32): i32;
@external("roadrunner", "targets")
export declare function targets(): i32;
@external("roadrunner", "target_name")
export declare function target_name(index: u32, buffer: usize, capacity: u32): i32;
@external("roadrunner", "target_status")
export declare function target_status(index: u32): i32;
@external("roadrunner", "receive")
export declare function receive(timeoutMs: i32): i64;
@external("roadrunner", "complete")
export declare function complete(address: usize, status: i32): i32;
@external("roadrunner", "set_status")
export declare function set_status(status: i32): i32;
@external("roadrunner", "peer_name")
export declare function peer_name(address: usize, buffer: usize, capacity: u32): i32;
@external("roadrunner", "last_error")
export declare function last_error(buffer: usize, capacity: u32): i32;
@external("roadrunner", "register_memory")
export declare function register_memory(address: usize, len: u32): i32;
@external("roadrunner", "unregister_memory")
export declare function unregister_memory(address: usize): i32;

/** A text that an import gives, which says its length first: `number` is its first argument. */
export function text(number: usize, get: (number: usize, buffer: usize, capacity: u32) => i32): string {
  const len = get(number, 0, 0);
  if (len <= 0) return "";
  const buffer = new ArrayBuffer(len);
  if (get(number, changetype<usize>(buffer), len) != len) return "";
  return String.UTF8.decode(buffer);
}
