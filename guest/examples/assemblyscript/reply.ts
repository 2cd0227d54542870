// command: reply [COUNT] receives COUNT payloads, or until none will come any more, and answers each with a copy of it. Prints what sink
// prints, and rejects a text that begins with '!' with code 33.
import { Message, Status, lastError, receive, receiveStatus } from "roadrunner";
import { args, exit, print, printError } from "roadrunner/wasi";
import { checksum } from "./pattern";

export * from "roadrunner/contract";

function reply(message: Message): i32 {
  const data = message.data;
  print(`received ${data.length} ${checksum(data)} from ${message.sender}`);
  if (data.length > 0 && data[0] == 0x21) return message.reject(33);
  const status = message.answerCopy(data);
  return status == Status.OK ? message.done() : status;
}

function main(args: string[]): i32 {
  let left = args.length > 1 ? i32.parse(args[1]) : -1;
  while (left != 0) {
    const message = receive(100);
    let status = receiveStatus();
    if (status == Status.TIMEOUT) continue;
    if (status == Status.CLOSED) {
      print("closed");
      return 0;
    }
    if (message != null) status = reply(message);
    if (status != Status.OK) {
      printError(`reply: status ${status}: ${lastError()}`);
      return 1;
    }
    left--;
  }
  return 0;
}

exit(main(args()));
