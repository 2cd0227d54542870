// command: ask VERB PAYLOAD... shows what a sender can do beside sending. A payload that is a number is the pattern of that length,
// else the text itself.
//
//     call  asks each target, and prints what it answers, or the status that it says instead
//     each  sends to all targets at once, and prints each one's status
//     give  gives a buffer away to all targets, once it has seen that a target that does not exist leaves it as it was
import { Buffer, Status, call, callStatus, lastError, sendToEach, targets } from "roadrunner";
import { args, exit, print, printError } from "roadrunner/wasi";
import { checksum, payload } from "./pattern";

export * from "roadrunner/contract";

function ask(data: Uint8Array): i32 {
  const names = targets();
  for (let i = 0; i < names.length; i++) {
    const answer = call(names[i], data);
    if (answer == null) {
      print(`${names[i]} said ${callStatus()}`);
      continue;
    }
    print(`${names[i]} answered ${answer.data.length} ${checksum(answer.data)}`);
    const status = answer.done();
    if (status != Status.OK) return status;
  }
  return Status.OK;
}

function each(data: Uint8Array): i32 {
  const deliveries = sendToEach(data);
  for (let i = 0; i < deliveries.length; i++) print(`${deliveries[i].target} said ${deliveries[i].status}`);
  return Status.OK;
}

function give(data: Uint8Array): i32 {
  const buffer = Buffer.copyOf(data);
  const bytes = buffer.data;
  assert(buffer.giveTo("nobody") == Status.NO_TARGET && !buffer.given, "nobody was given the buffer");
  const text = `gave ${bytes.length} ${checksum(buffer.data)}`;
  const status = buffer.give();
  if (status != Status.OK) return status;
  assert(buffer.given && buffer.data.length == 0 && (bytes.length == 0 || bytes[0] == 0), "the buffer is still here");
  print(text);
  return Status.OK;
}

/** What an argument stands for. */
function meaning(argument: string): Uint8Array {
  const first = argument.charCodeAt(0);
  if (first >= 0x30 && first <= 0x39) return payload(i32.parse(argument));
  return Uint8Array.wrap(String.UTF8.encode(argument));
}

function main(args: string[]): i32 {
  for (let i = 2; i < args.length; i++) {
    const data = meaning(args[i]);
    const status = args[1] == "call" ? ask(data) : args[1] == "each" ? each(data) : give(data);
    if (status != Status.OK) {
      printError(`ask: status ${status}: ${lastError()}`);
      return 1;
    }
  }
  return 0;
}

exit(main(args()));
