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
// A handler says what the host shall call, in an init function; its main is never called:
//
//	func init() { roadrunner.Handle(handle) }
//	func handle(message *roadrunner.Message) error { ... }
//
// Sending copies nothing in the guest; a received payload is read where the host has put it. While a call here waits, all of
// the program does: WebAssembly has one thread, which is then the host's, so no other goroutine runs. A payload for which Go
// finds no memory is refused to its sender, and ends the program, as running out of memory always does in Go.
package roadrunner

import (
	"errors"
	"math"
	"os"
	"strconv"
	"time"
	"unsafe"
)

// Status is what an import answers, and what a function says of a payload: 0 is success, negative numbers are the host's,
// positive ones are what a receiving function has said.
type Status int32

// The host's statuses.
const (
	OK              Status = 0
	InvalidArgument Status = -1
	InvalidRegion   Status = -2
	NoHose          Status = -3
	NoTarget        Status = -4
	TooLarge        Status = -5
	Timeout         Status = -6
	Unauthenticated Status = -7
	Protocol        Status = -8
	Lost            Status = -9
	Unknown         Status = -10
	Refused         Status = -11
	Trapped         Status = -12
	Busy            Status = -13
	NoExport        Status = -14
	NoMemory        Status = -15
	Host            Status = -16
)

// Error is a call that did not succeed. errors.As finds it.
type Error struct {
	// Status is never OK.
	Status Status
	// Text is the host's, for a status of the host.
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "status " + strconv.Itoa(int(e.Status))
	}
	return "status " + strconv.Itoa(int(e.Status)) + ": " + e.Text
}

// Message is a received payload, this function's own until Done or Reject; in a handler, until that returns.
type Message struct {
	// Data is the payload where the host has put it. Go keeps what is still referred to afterwards.
	Data    []byte
	address uint32
	pushed  bool
}

// The host's functions, as they are.

//go:wasmimport roadrunner send_to_host
func hostSend(address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner send_to
func hostSendTo(name unsafe.Pointer, nameLength uint32, address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner receive
func hostReceive(timeoutMs int32) int64

//go:wasmimport roadrunner complete
func hostComplete(address uint32, status Status) Status

//go:wasmimport roadrunner set_status
func hostSetStatus(status Status) Status

//go:wasmimport roadrunner peer_name
func hostPeerName(address uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport roadrunner last_error
func hostLastError(buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport roadrunner register_memory
func hostRegister(address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner unregister_memory
func hostUnregister(address unsafe.Pointer) Status

var (
	// What the host has asked for and not given back, by address: the collector sees no reference of the host's.
	regions = map[uint32][]byte{}
	// What is being sent: what locateMemoryRegion vouches for. A global, so that it lies on the heap, which never moves.
	outgoing []byte
	// An address for a payload without bytes.
	nothing [1]byte
	handler func(*Message) error
)

// Send sends data to every target of this function, and returns when the function of each has handled it.
func Send(data []byte) error {
	outgoing = region(data)
	status := hostSend(addressOf(outgoing), uint32(len(data)))
	outgoing = nil
	return result(status)
}

// SendTo is Send to one target, by its name.
func SendTo(name string, data []byte) error {
	outgoing = region(data)
	status := hostSendTo(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), addressOf(outgoing), uint32(len(data)))
	outgoing = nil
	return result(status)
}

// Recv waits for a payload.
func Recv() (*Message, error) { return receive(-1) }

// RecvTimeout waits no longer than timeout, in whole milliseconds: an *Error with Timeout when nothing came.
func RecvTimeout(timeout time.Duration) (*Message, error) {
	return receive(int32(min(max(timeout.Milliseconds(), 0), math.MaxInt32)))
}

func receive(timeoutMs int32) (*Message, error) {
	packed := hostReceive(timeoutMs)
	// The upper half is an address, or -1 before a status; no region begins in the last byte of 4 GiB.
	if packed>>32 == -1 {
		return nil, result(Status(int32(packed)))
	}
	address, length := uint32(uint64(packed)>>32), uint32(packed)
	return &Message{Data: regions[address][:length], address: address}, nil
}

// Done says that the payload is handled: its sender's call returns with success.
func (m *Message) Done() error { return m.complete(OK) }

// Reject says that the payload is handled with this code, which is positive and what its sender's call returns.
func (m *Message) Reject(code int32) error { return m.complete(Status(code)) }

func (m *Message) complete(status Status) error {
	if m.pushed {
		return result(hostSetStatus(status))
	}
	return result(hostComplete(m.address, status))
}

// Sender is the name of the function that has sent the payload; empty after Done or Reject.
func (m *Message) Sender() string {
	return text(func(buffer unsafe.Pointer, capacity uint32) int32 {
		return hostPeerName(m.address, buffer, capacity)
	})
}

// Handle has the host call function with each payload, in a program that is built with -buildmode=c-shared, once its init
// functions have run. An error rejects the payload: one of Reject with its code, any other with 1 and a line on standard error.
func Handle(function func(*Message) error) { handler = function }

// Reject is an error for a handler: its payload is rejected with this positive code, and nothing is written.
func Reject(code int32) error { return &Error{Status: Status(code)} }

// Register names data as a region that may be sent, in whole or in part, until Unregister. Send needs no such thing; it saves
// the host a question for each of many sends.
func Register(data []byte) error {
	return result(hostRegister(addressOf(region(data)), uint32(len(data))))
}

// Unregister takes back Register. Until then the caller keeps data.
func Unregister(data []byte) error { return result(hostUnregister(addressOf(region(data)))) }

// What the host calls. It does so only while this program is inside one of the imports, or not running at all.

//go:wasmexport allocate_memory
func allocateMemory(length uint32) uint32 {
	if length > math.MaxInt32 {
		return 0
	}
	// Never none for 0 bytes, which the contract needs an address for.
	data := make([]byte, max(length, 1))
	address := uint32(uintptr(addressOf(data)))
	regions[address] = data
	return address
}

//go:wasmexport deallocate_memory
func deallocateMemory(address uint32) { delete(regions, address) }

// Vouches for what is being sent, and for nothing else.
//
//go:wasmexport locate_memory_region
func locateMemoryRegion(data uint32) int64 {
	address := uint32(uintptr(addressOf(outgoing)))
	if address == 0 || data != address {
		return 0
	}
	return int64(uint64(address)<<32 | uint64(len(outgoing)))
}

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
	var failure *Error
	if errors.As(err, &failure) && failure.Status > 0 {
		return failure.Status
	}
	os.Stderr.WriteString("roadrunner: rejected: " + err.Error() + "\n")
	return 1
}

// The same bytes, with an address even where there are none.
func region(data []byte) []byte {
	if len(data) == 0 {
		return nothing[:0]
	}
	return data
}

func addressOf(data []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(data)) }

func result(status Status) error {
	if status == OK {
		return nil
	}
	failure := &Error{Status: status}
	if status < 0 {
		failure.Text = text(hostLastError)
	}
	return failure
}

// The text that an import gives, which says its length first.
func text(get func(buffer unsafe.Pointer, capacity uint32) int32) string {
	length := get(nil, 0)
	if length <= 0 {
		return ""
	}
	buffer := make([]byte, length)
	if get(addressOf(buffer), uint32(length)) != length {
		return ""
	}
	return string(buffer)
}
