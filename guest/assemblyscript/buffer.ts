// Memory that is given away instead of being lent.

import * as host from "./host";
import { Region, allocate, forget, keep } from "./memory";
import { Status } from "./status";

/**
 * Memory on pages of its own, to be filled in place once, and then given away: to the targets (`give`, `giveTo`), or to a caller
 * (`Message.answer`). Within a container its pages change hands from 2 MiB on, and nothing is copied; where they cannot, and where
 * copying costs less, the host copies. `send`, in contrast, lends, and the host always copies.
 *
 * A buffer is this function's until it is given away, and empty afterwards: an array of its bytes that is still held shows zeros.
 * One that is not needed any more is freed by `free`; else it is kept as long as the function runs, because the host knows of it.
 */
export class Buffer {
  private region: Region | null = null;
  private bytes: Uint8Array = new Uint8Array(0);

  /** `length` zeros to be written to. Traps where there is no such memory. */
  constructor(length: i32) {
    const region = assert(allocate(length), "a buffer too long for memory");
    assert(host.register_memory(region.address, region.len) == Status.OK, "too many buffers");
    // What it cannot do it says by being slower.
    host.prepare_memory(region.address, region.len);
    keep(region);
    this.region = region;
    this.bytes = region.view(length);
  }

  /** A buffer with a copy of data. */
  static copyOf(data: Uint8Array): Buffer {
    const buffer = new Buffer(data.length);
    buffer.bytes.set(data);
    return buffer;
  }

  /** Its bytes, without a copy: to be read and written until it is given away or freed. None after that. */
  get data(): Uint8Array {
    return this.bytes;
  }

  /** Makes it shorter: only its first `length` bytes are given away. */
  truncate(length: i32): void {
    const region = this.region;
    if (region != null && length < this.bytes.length) this.bytes = region.view(max(length, 0));
  }

  /** Whether it is gone: given away, or freed. */
  get given(): bool {
    return this.region == null;
  }

  /**
   * Gives it to every target, and returns when the function of each has handled it: a status. To several of this container's the pages
   * are given to the last one, and the others get copies. After a status other than 0, `given` tells whether the bytes have left; if
   * not, the buffer is as it was.
   */
  give(): i32 {
    return this.giveAway("");
  }

  /** The same to one target, by its name. */
  giveTo(name: string): i32 {
    // To the host no name means all of them.
    return name.length == 0 ? Status.NO_TARGET : this.giveAway(name);
  }

  private giveAway(name: string): i32 {
    const region = this.region;
    if (region == null) return Status.INVALID_REGION;
    const utf8 = String.UTF8.encode(name);
    const status = host.give_to_host(changetype<usize>(utf8), utf8.byteLength, region.address, this.bytes.length);
    if (status == Status.OK) {
      this.leave();
    } else if (host.register_memory(region.address, region.len) != Status.INVALID_REGION) {
      // What the host still knows of it would not have registered again: the bytes have left.
      this.free();
    }
    return status;
  }

  /** Gives it up without giving it to anybody. There is nothing to do for one that is gone. */
  free(): void {
    const region = this.region;
    if (region != null) host.unregister_memory(region.address);
    this.leave();
  }

  /** For this package: its memory, which is not its own any more. */
  leave(): Region | null {
    const region = this.region;
    if (region != null) forget(region);
    this.region = null;
    this.bytes = new Uint8Array(0);
    return region;
  }
}
