// sink [COUNT] receives COUNT payloads (default: 1), and prints the length, checksum and sender of each.
package main

import (
	"fmt"
	"os"
	"strconv"

	"examples/pattern"
	"roadrunner"
)

func main() {
	count := 1
	if len(os.Args) > 1 {
		count, _ = strconv.Atoi(os.Args[1])
	}
	for range count {
		if err := receive(); err != nil {
			fmt.Fprintln(os.Stderr, "sink:", err)
			os.Exit(1)
		}
	}
}

func receive() error {
	message, err := roadrunner.Recv()
	if err != nil {
		return err
	}
	fmt.Printf("received %d %08x from %s\n", len(message.Data), pattern.Checksum(message.Data), message.Sender())
	return message.Done()
}
