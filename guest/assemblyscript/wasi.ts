// The little of WASI that a function needs to be a program: arguments, lines of text, an exit code. AssemblyScript itself
// knows of none.

@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(fd: i32, iovs: usize, iovsLen: i32, written: usize): i32;
@external("wasi_snapshot_preview1", "args_sizes_get")
declare function args_sizes_get(count: usize, size: usize): i32;
@external("wasi_snapshot_preview1", "args_get")
declare function args_get(argv: usize, buffer: usize): i32;
@external("wasi_snapshot_preview1", "proc_exit")
declare function proc_exit(code: i32): void;

// Two words for what WASI answers, and for a piece of text.
const words = memory.data(8);

/** Writes a line to standard output. */
export function print(line: string): void {
  write(1, line + "\n");
}

/** Writes a line to standard error. */
export function printError(line: string): void {
  write(2, line + "\n");
}

function write(fd: i32, text: string): void {
  const bytes = String.UTF8.encode(text);
  const length = <usize>bytes.byteLength;
  let done: usize = 0;
  while (done < length) {
    store<usize>(words, changetype<usize>(bytes) + done, 0);
    store<usize>(words, length - done, 4);
    // A closed stream is the reader's wish.
    if (fd_write(fd, words, 1, words) != 0) return;
    done += load<usize>(words);
  }
}

/** The arguments, of which the first is the function's own name. */
export function args(): string[] {
  const all: string[] = [];
  if (args_sizes_get(words, words + 4) != 0) return all;
  const count = load<i32>(words);
  const addresses = new StaticArray<usize>(count);
  const text = new ArrayBuffer(load<i32>(words, 4));
  if (args_get(changetype<usize>(addresses), changetype<usize>(text)) != 0) return all;
  for (let i = 0; i < count; i++) {
    let end = addresses[i];
    while (load<u8>(end) != 0) end++;
    all.push(String.UTF8.decodeUnsafe(addresses[i], end - addresses[i]));
  }
  return all;
}

/** Ends the function with this code. */
export function exit(code: i32): void {
  proc_exit(code);
}

/** What a failed assertion does: `--use abort=~lib/roadrunner/wasi/abort`. By default it would be an import that no host here has. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message == null ? "aborted" : message;
  const where = file == null ? "?" : file;
  printError(where + ":" + line.toString() + ":" + column.toString() + ": " + what);
  unreachable();
}
