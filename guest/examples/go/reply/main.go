// reply [COUNT]: receives COUNT payloads, or until none will come any more, and answers each with a copy of it. Prints what sink
// prints, and rejects a text that begins with '!' with code 33.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"examples/pattern"
	"roadrunner"
)

func main() {
	left := -1
	if len(os.Args) > 1 {
		left, _ = strconv.Atoi(os.Args[1])
	}
	for left != 0 {
		message, err := roadrunner.RecvTimeout(100 * time.Millisecond)
		switch {
		case errors.Is(err, roadrunner.Timeout):
			continue
		case errors.Is(err, roadrunner.Closed):
			fmt.Println("closed")
			return
		case err == nil:
			err = reply(message)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "reply:", err)
			os.Exit(1)
		}
		left--
	}
}

func reply(message *roadrunner.Message) error {
	data := message.Data
	fmt.Printf("received %d %08x from %s\n", len(data), pattern.Checksum(data), message.Sender())
	if len(data) > 0 && data[0] == '!' {
		return message.Reject(33)
	}
	if err := message.AnswerCopy(data); err != nil {
		return err
	}
	return message.Done()
}
