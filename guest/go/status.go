//go:build wasip1

package roadrunner

import "strconv"

// Status is what an import answers, and what a function says of a payload: 0 is success, negative numbers are the host's,
// positive ones are what a receiving function has said. It is an error to be compared with:
//
//	if errors.Is(err, roadrunner.Closed) { ... }
type Status int32

// The host's statuses, each with the meaning that guest/abi gives it.
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
	Closed          Status = -17
)

var texts = map[Status]string{
	OK:              "success",
	InvalidArgument: "invalid argument",
	InvalidRegion:   "region is not registered or not in bounds",
	NoHose:          "this function has no hose",
	NoTarget:        "no such target",
	TooLarge:        "payload too large",
	Timeout:         "timed out",
	Unauthenticated: "identity not proved",
	Protocol:        "peer does not speak the protocol",
	Lost:            "connection lost before anything was sent",
	Unknown:         "connection lost, fate of the payload unknown",
	Refused:         "receiver refused the payload",
	Trapped:         "receiver's function failed",
	Busy:            "called from where it may not be called",
	NoExport:        "this function lacks an export that is needed",
	NoMemory:        "this function gave no memory for a payload",
	Host:            "host error",
	Closed:          "every function that could send has ended",
}

func (s Status) Error() string {
	text, known := texts[s]
	switch {
	case s > 0:
		text = "rejected by the receiving function"
	case !known:
		text = "unknown to this package"
	}
	return text + " (status " + strconv.Itoa(int(s)) + ")"
}

// Error is a call that did not succeed. errors.As finds it, and errors.Is its Status.
type Error struct {
	// Status is never OK.
	Status Status
	// Text is the host's, for a status of the host; it may be empty.
	Text string
}

func (e *Error) Error() string {
	if e.Text == "" {
		return e.Status.Error()
	}
	return e.Status.Error() + ": " + e.Text
}

// Unwrap gives the status.
func (e *Error) Unwrap() error { return e.Status }

// Reject is an error for a handler: its payload is rejected with this positive code, and nothing is written.
func Reject(code int32) error { return &Error{Status: Status(code)} }

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
