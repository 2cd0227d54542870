//go:build wasip1

// Package roadrunner is the hose for functions in Go: the guest contract of guest/abi/src/lib.rs, which says what every
// function means, who owns a region when, and what each status is. With Go 1.24 or newer:
//
//	GOOS=wasip1 GOARCH=wasm go build -o function.wasm .                          a program with a main
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -o handler.wasm .       a handler, called by the host
//
// A program sends and receives:
//
//	err := roadrunner.Send([]byte("to every target of this function")) // returns when their functions have handled it
//	message, err := roadrunner.Recv()                                  // waits
//	fmt.Println(len(message.Data), "bytes from", message.Sender())
//	err = message.Done()                                               // the sender's call returns
//
// One asks another, and is answered:
//
//	answer, err := roadrunner.Call("thumbnails", photo)
//	defer answer.Done()
//
// A handler says what the host shall call, in an init function; its main is never called:
//
//	func init() { roadrunner.Handle(handle) }
//	func handle(message *roadrunner.Message) error { return message.AnswerCopy([]byte("seen")) }
//
// # Whose memory
//
//	                        before                       while the call runs    afterwards
//	Send, SendTo, Call      the caller's                 the host's             the caller's, unchanged
//	Buffer.Give, GiveTo     this function's              the host's             the receiver's; the buffer is empty
//	Message.Answer          this function's              the host's             the caller's; the buffer is empty
//	Message.Data            the host's, which fills it                          this function's, until Done or Reject; in a
//	                                                                            handler until that returns
//
// # Copies
//
//	                                       in this function   by the host
//	Send, SendTo, Call                     none               one, into the receiver's memory (two through a socket)
//	Buffer.Give, GiveTo, Message.Answer    none               none from 2 MiB on, within a container
//	CopyToBuffer, Message.AnswerCopy       one                as for a buffer
//	Message.Data                           none
//
// While a call here waits, all of the program does: WebAssembly has one thread, which is then the host's, so no other goroutine
// runs. A payload for which Go finds no memory is refused to its sender, and ends the program, as running out of memory always
// does in Go.
package roadrunner

import (
	"errors"
	"math"
	"os"
	"time"
	"unsafe"
)

// Message is a received payload, this function's own until Done or Reject; in a handler, until that returns. So is the answer to a Call.
type Message struct {
	// Data is the payload where the host has put it, without a copy; it may be written to. A slice of it that is held longer than
	// the message is nobody else's memory, but may show zeros: clone what is to be kept.
	Data    []byte
	address uint32
	pushed  bool
}

// Delivery is what became of a payload at one target.
type Delivery struct {
	Target string
	// Err is nil where it was handled.
	Err error
}

var handler func(*Message) error

// Send sends data to every target of this function, and returns when the function of each has handled it. The error is the
// first target's that complained, in the order of the container's configuration; the others may have handled it.
func Send(data []byte) error { return result(vouched(data, hostSend)) }

// SendTo is Send to one target, by its name.
func SendTo(target string, data []byte) error {
	return result(vouched(data, func(address unsafe.Pointer, length uint32) Status {
		name, nameLength := parts(target)
		return hostSendTo(name, nameLength, address, length)
	}))
}

// SendToEach is Send, and tells what became of data at each target, in the order of the container's configuration. Of several errors
// LastError has the last one's text.
func SendToEach(data []byte) []Delivery {
	vouched(data, hostSend)
	deliveries := make([]Delivery, 0, len(Targets()))
	for index, name := range Targets() {
		delivery := Delivery{Target: name}
		if status := TargetStatus(index); status != OK {
			delivery.Err = &Error{Status: status}
		}
		deliveries = append(deliveries, delivery)
	}
	return deliveries
}

// Targets are the names of this function's targets, in the order of the container's configuration.
func Targets() []string {
	names := make([]string, max(hostTargets(), 0))
	for index := range names {
		names[index] = text(func(buffer unsafe.Pointer, capacity uint32) int32 {
			return hostTargetName(uint32(index), buffer, capacity)
		})
	}
	return names
}

// TargetStatus is what became of the last payload to all targets (Send, Buffer.Give) at this one, by its number.
func TargetStatus(index int) Status {
	if index < 0 || index > math.MaxInt32 {
		return NoTarget
	}
	return hostTargetStatus(uint32(index))
}

// Call sends data to one target, and waits for what that answers: a Message without bytes if it answers nothing. It is this
// function's until Done.
func Call(target string, data []byte) (*Message, error) {
	return received(vouched(data, func(address unsafe.Pointer, length uint32) int64 {
		name, nameLength := parts(target)
		return hostCall(name, nameLength, address, length)
	}))
}

// Recv waits for a payload. The error is Closed when none will come any more.
func Recv() (*Message, error) { return received(hostReceive(-1)) }

// RecvTimeout waits no longer than timeout, in whole milliseconds: the error is Timeout when nothing came.
func RecvTimeout(timeout time.Duration) (*Message, error) {
	return received(hostReceive(int32(min(max(timeout.Milliseconds(), 0), math.MaxInt32))))
}

func received(packed int64) (*Message, error) {
	// The upper half is an address, or -1 before a status; no region begins in the last byte of 4 GiB.
	if packed>>32 == -1 {
		return nil, result(Status(int32(packed)))
	}
	address, length := uint32(uint64(packed)>>32), uint32(packed)
	return &Message{Data: regions[address][:length], address: address}, nil
}

// Done says that the payload is handled: its sender's call returns with success. Of an answer it says that it was read.
func (m *Message) Done() error { return m.complete(OK) }

// Reject says that the payload is handled with this code, which is positive and what its sender's call returns.
func (m *Message) Reject(code int32) error { return m.complete(Status(code)) }

func (m *Message) complete(status Status) error {
	if m.pushed {
		return result(hostSetStatus(status))
	}
	err := result(hostComplete(m.address, status))
	if err == nil {
		// The next payload may lie at the same address.
		m.Data, m.address = nil, 0
	}
	return err
}

// Answer answers a sender that called: it is given the buffer when the payload is handled. The last answer counts, a sender that
// does not want one gets none. After an error the buffer is as it was.
func (m *Message) Answer(answer *Buffer) error {
	status := hostAnswer(m.address, addressOf(answer.memory), uint32(answer.length))
	if status != OK {
		return result(status)
	}
	if earlier, there := answers[m.address]; there {
		hostUnregister(addressOf(earlier))
	}
	answers[m.address] = answer.memory
	answer.forget()
	return nil
}

// AnswerCopy answers with a copy of data.
func (m *Message) AnswerCopy(data []byte) error {
	answer, err := CopyToBuffer(data)
	if err != nil {
		return err
	}
	if err := m.Answer(answer); err != nil {
		answer.Close()
		return err
	}
	return nil
}

// Sender is the name of the function that has sent the payload; empty after Done or Reject, and for an answer.
func (m *Message) Sender() string {
	return text(func(buffer unsafe.Pointer, capacity uint32) int32 {
		return hostPeerName(m.address, buffer, capacity)
	})
}

// LastError is the host's text for the last call that failed; empty if none did.
func LastError() string { return text(hostLastError) }

// Register names data as a region that may be sent, in whole or in part, until Unregister. Send needs no such thing; it saves
// the host a question for each of many sends.
func Register(data []byte) error {
	return result(hostRegister(addressOf(region(data)), uint32(len(data))))
}

// Unregister takes back Register. Until then the caller keeps data.
func Unregister(data []byte) error { return result(hostUnregister(addressOf(region(data)))) }

// Handle has the host call function with each payload, in a program that is built with -buildmode=c-shared, once its init
// functions have run. An error rejects the payload: one of Reject with its code, any other with 1 and a line on standard error.
func Handle(function func(*Message) error) { handler = function }

//go:wasmexport read_memory_wasm
func readMemoryWasm(address, length uint32) {
	if handler == nil {
		os.Stderr.WriteString("roadrunner: a payload came, and no handler is set\n")
		hostSetStatus(1)
		return
	}
	message := &Message{Data: regions[address][:length], address: address, pushed: true}
	if err := handler(message); err != nil {
		hostSetStatus(rejection(err))
	}
}

func rejection(err error) Status {
	var status Status
	if errors.As(err, &status) && status > 0 {
		return status
	}
	os.Stderr.WriteString("roadrunner: rejected: " + err.Error() + "\n")
	return 1
}
