// command: sink [COUNT] receives COUNT payloads (default: 1), and prints the length, checksum and sender of each.
import { lastError, receive, receiveStatus } from "roadrunner";
import { args, exit, print, printError } from "roadrunner/wasi";
import { checksum } from "./pattern";

export * from "roadrunner/contract";

function main(args: string[]): i32 {
  const count = args.length > 1 ? i32.parse(args[1]) : 1;
  for (let i = 0; i < count; i++) {
    const message = receive();
    if (message == null) {
      printError(`sink: status ${receiveStatus()}: ${lastError()}`);
      return 1;
    }
    const data = message.data;
    print(`received ${data.length} ${checksum(data)} from ${message.sender}`);
    if (message.done() != 0) return 1;
  }
  return 0;
}

exit(main(args()));
