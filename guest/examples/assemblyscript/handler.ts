// reactor: called with its input, prints what sink prints, answers a copy of it, and rejects a text that begins with '!' with code 33.
import { Message, handle } from "roadrunner";
import { print } from "roadrunner/wasi";
import { checksum } from "./pattern";

export * from "roadrunner/handler";

handle((message: Message): i32 => {
  const data = message.data;
  print(`received ${data.length} ${checksum(data)} from ${message.sender}`);
  return data.length > 0 && data[0] == 0x21 ? 33 : message.answerCopy(data);
});
