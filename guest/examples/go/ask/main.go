// ask VERB PAYLOAD...: what a sender can do beside sending. A payload that is a number is the pattern of that length, else the text itself.
//
//	call  asks each target, and prints what it answers, or the status that it says instead
//	each  sends to all targets at once, and prints each one's status
//	give  gives a buffer away to all targets, once it has seen that a target that does not exist leaves it as it was
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"examples/pattern"
	"roadrunner"
)

func main() {
	verbs := map[string]func([]byte) error{"call": call, "each": each, "give": give}
	for _, argument := range os.Args[2:] {
		if err := verbs[os.Args[1]](payload(argument)); err != nil {
			fmt.Fprintln(os.Stderr, "ask:", err)
			os.Exit(1)
		}
	}
}

func payload(argument string) []byte {
	if length, err := strconv.ParseUint(argument, 10, 31); err == nil {
		return pattern.Payload(int(length))
	}
	return []byte(argument)
}

func call(payload []byte) error {
	for _, target := range roadrunner.Targets() {
		answer, err := roadrunner.Call(target, payload)
		var status roadrunner.Status
		if errors.As(err, &status) {
			fmt.Printf("%s said %d\n", target, status)
			continue
		}
		fmt.Printf("%s answered %d %08x\n", target, len(answer.Data), pattern.Checksum(answer.Data))
		if err := answer.Done(); err != nil {
			return err
		}
	}
	return nil
}

func each(payload []byte) error {
	for _, delivery := range roadrunner.SendToEach(payload) {
		var status roadrunner.Status
		errors.As(delivery.Err, &status)
		fmt.Printf("%s said %d\n", delivery.Target, status)
	}
	return nil
}

func give(payload []byte) error {
	buffer, err := roadrunner.CopyToBuffer(payload)
	if err != nil {
		return err
	}
	if err := buffer.GiveTo("nobody"); !errors.Is(err, roadrunner.NoTarget) || buffer.Given() {
		return fmt.Errorf("nobody was given the buffer: %v", err)
	}
	bytes := buffer.Bytes()
	length, sum := len(bytes), pattern.Checksum(bytes)
	if err := buffer.Give(); err != nil {
		return err
	}
	if !buffer.Given() || len(buffer.Bytes()) != 0 || length > 0 && bytes[0] != 0 {
		return errors.New("the buffer is still here")
	}
	fmt.Printf("gave %d %08x\n", length, sum)
	return nil
}
