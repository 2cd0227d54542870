// command: source LEN... sends a payload of each length to the function's targets.
import { lastError, send } from "roadrunner";
import { args, exit, print, printError } from "roadrunner/wasi";
import { checksum, payload } from "./pattern";

export * from "roadrunner/contract";

function main(args: string[]): i32 {
  for (let i = 1; i < args.length; i++) {
    const data = payload(i32.parse(args[i]));
    const status = send(data);
    if (status != 0) {
      printError(`source: status ${status}: ${lastError()}`);
      return 1;
    }
    print(`sent ${data.length} ${checksum(data)}`);
  }
  return 0;
}

exit(main(args()));
