// The hose for functions in AssemblyScript: the guest contract of guest/abi/src/lib.rs, which says what every function means,
// who owns a region when, and what each status is. With this folder installed as the package `roadrunner`:
//
//     asc main.ts -O --use abort=~lib/roadrunner/wasi/abort --exportStart _start -o function.wasm        a program
//     asc main.ts -O --use abort=~lib/roadrunner/wasi/abort --exportStart _initialize -o handler.wasm    a handler
//
// A program is the statements of its entry file, which exports what the host calls. It sends and receives:
//
//     import { receive, send } from "roadrunner";
//     export * from "roadrunner/contract";
//
//     const status = send(data);       // to every target of this function; returns when their functions have handled it
//     const message = receive()!;      // waits; message.data, message.sender
//     message.done();                  // the sender's call returns
//
// A handler says what the host shall call:
//
//     import { Message, handle } from "roadrunner";
//     export * from "roadrunner/handler";
//
//     handle((message: Message): i32 => 0);
//
// Sending copies nothing in the guest; a received payload is read where the host has put it. The runtime is the default one,
// `incremental`: what the host has given back is left to its collector. A payload for which there is no memory is refused to its
// sender, and ends the function with a trap, as running out of memory always does in AssemblyScript.

/** What an import answers: 0 is success, negative numbers are the host's, positive ones are what a receiving function has said. */
export namespace Status {
  export const OK: i32 = 0;
  export const INVALID_ARGUMENT: i32 = -1;
  export const INVALID_REGION: i32 = -2;
  export const NO_HOSE: i32 = -3;
  export const NO_TARGET: i32 = -4;
  export const TOO_LARGE: i32 = -5;
  export const TIMEOUT: i32 = -6;
  export const UNAUTHENTICATED: i32 = -7;
  export const PROTOCOL: i32 = -8;
  export const LOST: i32 = -9;
  export const UNKNOWN: i32 = -10;
  export const REFUSED: i32 = -11;
  export const TRAPPED: i32 = -12;
  export const BUSY: i32 = -13;
  export const NO_EXPORT: i32 = -14;
  export const NO_MEMORY: i32 = -15;
  export const HOST: i32 = -16;
}

// The host's functions, as they are.
export namespace host {
  @external("roadrunner", "send_to_host")
  export declare function send_to_host(address: usize, len: u32): i32;
  @external("roadrunner", "send_to")
  export declare function send_to(name: usize, nameLen: u32, address: usize, len: u32): i32;
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
}

/** What is being sent: what `locate_memory_region` vouches for. */
let outgoing: Uint8Array | null = null;
/** Why `receive` gave nothing. */
let received: i32 = Status.OK;
let handler: ((message: Message) => i32) | null = null;

/** A received payload: this function's own until `done` or `reject`; in a handler, until that returns. */
export class Message {
  private constructor(
    /** The payload where the host has put it. What is still referred to afterwards is kept. */
    readonly data: Uint8Array,
    private pushed: bool,
  ) {}

  /** For this package: the region is an ArrayBuffer, because `allocate_memory` made it one. */
  static at(address: usize, len: u32, pushed: bool): Message {
    return new Message(Uint8Array.wrap(changetype<ArrayBuffer>(address), 0, len), pushed);
  }

  /** The name of the function that has sent the payload; empty after `done` or `reject`. */
  get sender(): string {
    const len = host.peer_name(this.data.dataStart, 0, 0);
    if (len <= 0) return "";
    const name = new ArrayBuffer(len);
    if (host.peer_name(this.data.dataStart, changetype<usize>(name), len) != len) return "";
    return String.UTF8.decode(name);
  }

  /** The payload is handled: its sender's call returns 0. */
  done(): i32 {
    return this.reject(Status.OK);
  }

  /** The payload is handled with a positive code, which its sender's call returns. */
  reject(code: i32): i32 {
    return this.pushed ? host.set_status(code) : host.complete(this.data.dataStart, code);
  }
}

/** Sends data to every target, and returns when the function of each has handled it: a status. */
export function send(data: Uint8Array): i32 {
  outgoing = data;
  const status = host.send_to_host(data.dataStart, data.byteLength);
  outgoing = null;
  return status;
}

/** The same to one target, by its name. */
export function sendTo(name: string, data: Uint8Array): i32 {
  const utf8 = String.UTF8.encode(name);
  outgoing = data;
  const status = host.send_to(changetype<usize>(utf8), utf8.byteLength, data.dataStart, data.byteLength);
  outgoing = null;
  return status;
}

/** Waits for a payload, for ever if `timeoutMs` is negative. Null when there is none: `receiveStatus` says why. */
export function receive(timeoutMs: i32 = -1): Message | null {
  const packed = host.receive(timeoutMs);
  // The upper half is an address, or -1 before a status; no region begins in the last byte of 4 GiB.
  if (packed >> 32 == -1) {
    received = <i32>packed;
    return null;
  }
  received = Status.OK;
  return Message.at(<usize>(<u64>packed >> 32), <u32>packed, false);
}

/** The status of the last `receive`. */
export function receiveStatus(): i32 {
  return received;
}

/** The text of the last error of a call; empty when there was none. */
export function lastError(): string {
  const len = host.last_error(0, 0);
  if (len <= 0) return "";
  const text = new ArrayBuffer(len);
  if (host.last_error(changetype<usize>(text), len) != len) return "";
  return String.UTF8.decode(text);
}

/** Has the host call `callback` with each payload: what it returns (0 or positive) is what the sender's call returns. */
export function handle(callback: (message: Message) => i32): void {
  handler = callback;
}

/** For `contract.ts`: the region that is being sent if it begins at `data`. */
export function locate(data: usize): i64 {
  const sending = outgoing;
  if (sending == null || data != sending.dataStart) return 0;
  return (<i64>data << 32) | <i64>sending.byteLength;
}

/** For `handler.ts`. */
export function push(address: usize, len: u32): void {
  const callback = handler;
  const status = callback == null ? 1 : callback(Message.at(address, len, true));
  if (status != Status.OK) host.set_status(status);
}
