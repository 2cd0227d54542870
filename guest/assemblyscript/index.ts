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
// One asks another, and is answered:
//
//     const answer = call("thumbnails", photo);
//     if (answer == null) print(`status ${callStatus()}: ${lastError()}`);
//
// A handler says what the host shall call:
//
//     import { Message, handle } from "roadrunner";
//     export * from "roadrunner/handler";
//
//     handle((message: Message): i32 => message.answerCopy(message.data));
//
// Whose memory:
//
//                             before                       while the call runs    afterwards
//     send, sendTo, call      the caller's                 the host's             the caller's, unchanged
//     Buffer.give, giveTo     this function's              the host's             the receiver's; the buffer is empty
//     Message.answer          this function's              the host's             the caller's; the buffer is empty
//     Message.data            the host's, which fills it                          this function's, until `done` or `reject`; in a
//                                                                                 handler until that returns
//
// Copies:
//
//                                          in this function   by the host
//     send, sendTo, call                   none               one, into the receiver's memory (two through a socket)
//     Buffer.give, giveTo, Message.answer  none               none from 2 MiB on, within a container
//     Buffer.copyOf, Message.answerCopy    one                as for a buffer
//     Message.data                         none
//
// The runtime is the default one, `incremental`, which writes zeros into what it allocates; what the host has given back is left to
// its collector. A payload for which there is no memory is refused to its sender, and ends the function with a trap, as running out of
// memory always does in AssemblyScript.

import { Buffer } from "./buffer";
import * as host from "./host";
import { keepAsAnswer, payload } from "./memory";
import { Status } from "./status";

export { Buffer } from "./buffer";
export { Status } from "./status";

/** What is being sent: what `locate_memory_region` vouches for. */
let outgoing: Uint8Array | null = null;
/** Why `receive` gave nothing, and why `call` did. */
let received: i32 = Status.OK;
let called: i32 = Status.OK;
let handler: ((message: Message) => i32) | null = null;

/** A received payload: this function's own until `done` or `reject`; in a handler, until that returns. So is the answer to a `call`. */
export class Message {
  private constructor(
    private address: usize,
    private bytes: Uint8Array,
    private pushed: bool,
  ) {}

  /** For this package. */
  static at(address: usize, len: u32, pushed: bool): Message {
    return new Message(address, payload(address, len), pushed);
  }

  /**
   * The payload where the host has put it, without a copy; it may be written to. None after `done` and `reject`: an array that is
   * held longer is nobody else's memory, but may show zeros. (It begins at `data.dataStart`, not always where `data.buffer` does.)
   */
  get data(): Uint8Array {
    return this.bytes;
  }

  /** The name of the function that has sent the payload; empty after `done` or `reject`, and for an answer. */
  get sender(): string {
    return host.text(this.address, (address, buffer, capacity) => host.peer_name(address, buffer, capacity));
  }

  /**
   * Answers a sender that called: it is given the buffer when the payload is handled. The last answer counts, a sender that does not
   * want one gets none. A status: after one other than 0 the buffer is as it was.
   */
  answer(buffer: Buffer): i32 {
    const bytes = buffer.data;
    const status = buffer.given
      ? Status.INVALID_REGION
      : host.answer(this.address, bytes.dataStart, bytes.length);
    if (status != Status.OK) return status;
    const earlier = keepAsAnswer(this.address, buffer.leave()!);
    if (earlier != null) host.unregister_memory(earlier.address);
    return status;
  }

  /** Answers with a copy of data. */
  answerCopy(data: Uint8Array): i32 {
    const buffer = Buffer.copyOf(data);
    const status = this.answer(buffer);
    if (status != Status.OK) buffer.free();
    return status;
  }

  /** The payload is handled: its sender's call returns 0. Of an answer: it was read. */
  done(): i32 {
    return this.reject(Status.OK);
  }

  /** The payload is handled with a positive code, which its sender's call returns. */
  reject(code: i32): i32 {
    if (this.pushed) return host.set_status(code);
    const status = host.complete(this.address, code);
    if (status == Status.OK) {
      // The next payload may lie at the same address.
      this.address = 0;
      this.bytes = new Uint8Array(0);
    }
    return status;
  }
}

/** What became of a payload at one target: 0 where it was handled. */
export class Delivery {
  constructor(
    readonly target: string,
    readonly status: i32,
  ) {}
}

/** Sends data to every target, and returns when the function of each has handled it: a status, the first target's that complained. */
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

/** Sends data to every target, and tells what became of it at each, in the order of the container's configuration. */
export function sendToEach(data: Uint8Array): Delivery[] {
  send(data);
  const names = targets();
  const deliveries: Delivery[] = [];
  for (let i = 0; i < names.length; i++) deliveries.push(new Delivery(names[i], targetStatus(i)));
  return deliveries;
}

/** The names of this function's targets, in the order of the container's configuration. */
export function targets(): string[] {
  const names: string[] = [];
  const count = host.targets();
  for (let i = 0; i < count; i++) {
    names.push(host.text(i, (index, buffer, capacity) => host.target_name(<u32>index, buffer, capacity)));
  }
  return names;
}

/** What became of the last payload to all targets (`send`, `Buffer.give`) at this one, by its number. */
export function targetStatus(index: i32): i32 {
  return host.target_status(index);
}

/**
 * Sends data to one target, and waits for what that answers: a message without bytes if it answers nothing, this function's until
 * `done`. Null when there is no answer: `callStatus` says why.
 */
export function call(name: string, data: Uint8Array): Message | null {
  const utf8 = String.UTF8.encode(name);
  outgoing = data;
  const packed = host.call(changetype<usize>(utf8), utf8.byteLength, data.dataStart, data.byteLength);
  outgoing = null;
  called = statusOf(packed);
  return called == Status.OK ? messageAt(packed) : null;
}

/** The status of the last `call`. */
export function callStatus(): i32 {
  return called;
}

/** Waits for a payload, for ever if `timeoutMs` is negative. Null when there is none: `receiveStatus` says why. */
export function receive(timeoutMs: i32 = -1): Message | null {
  const packed = host.receive(timeoutMs);
  received = statusOf(packed);
  return received == Status.OK ? messageAt(packed) : null;
}

/** The status of the last `receive`: `TIMEOUT` when nothing came, `CLOSED` when nothing will. */
export function receiveStatus(): i32 {
  return received;
}

/** The upper half is an address, or -1 before a status; no region begins in the last byte of 4 GiB. */
function statusOf(packed: i64): i32 {
  return packed >> 32 == -1 ? <i32>packed : Status.OK;
}

function messageAt(packed: i64): Message {
  return Message.at(<usize>(<u64>packed >> 32), <u32>packed, false);
}

/** The text of the last error of a call; empty when there was none. */
export function lastError(): string {
  return host.text(0, (_, buffer, capacity) => host.last_error(buffer, capacity));
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

/** For `handler.ts`. A host's status, which is no handler's to say, counts as 1. */
export function push(address: usize, len: u32): void {
  const callback = handler;
  const status = callback == null ? 1 : callback(Message.at(address, len, true));
  if (status != Status.OK) host.set_status(status > 0 ? status : 1);
}
