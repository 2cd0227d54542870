// reactor: called with its input, prints what sink prints, answers a copy of it, and rejects a text that begins with '!' with code 33.
package main

import (
	"fmt"

	"examples/pattern"
	"roadrunner"
)

func init() { roadrunner.Handle(handle) }

func handle(message *roadrunner.Message) error {
	data := message.Data
	fmt.Printf("received %d %08x from %s\n", len(data), pattern.Checksum(data), message.Sender())
	if len(data) > 0 && data[0] == '!' {
		return roadrunner.Reject(33)
	}
	return message.AnswerCopy(data)
}

// Never called.
func main() {}
