// source LEN... sends a payload of each length to the function's targets.
package main

import (
	"fmt"
	"os"
	"strconv"

	"examples/pattern"
	"roadrunner"
)

func main() {
	for _, argument := range os.Args[1:] {
		if err := send(argument); err != nil {
			fmt.Fprintln(os.Stderr, "source:", err)
			os.Exit(1)
		}
	}
}

func send(argument string) error {
	length, err := strconv.ParseUint(argument, 10, 31)
	if err != nil {
		return err
	}
	payload := pattern.Payload(int(length))
	if err := roadrunner.Send(payload); err != nil {
		return err
	}
	fmt.Printf("sent %d %08x\n", length, pattern.Checksum(payload))
	return nil
}
