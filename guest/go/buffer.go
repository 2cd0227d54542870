//go:build wasip1

package roadrunner

// Buffer is memory on pages of its own, to be filled in place once, and then given away: to the targets (Give, GiveTo), or to a
// caller (Message.Answer). Within a container its pages change hands from 2 MiB on, and nothing is copied; where they cannot, and
// where copying costs less, the host copies. Send, in contrast, lends, and the host always copies.
//
// A buffer is this function's until it is given away, and empty afterwards: a slice of it that is still held shows zeros. One
// that is not needed any more is closed; else it is kept for as long as the program runs, because the host knows of it.
type Buffer struct {
	// Whole pages, of which length bytes are shown; nil when they are not this function's any more.
	memory []byte
	length int
}

// NewBuffer gives size zeros to be written to. The error is the host's when it knows of too many regions already.
func NewBuffer(size int) (*Buffer, error) {
	memory := allocate(size)
	if err := result(hostRegister(addressOf(memory), uint32(len(memory)))); err != nil {
		return nil, err
	}
	buffers[number(memory)] = memory
	// What it cannot do it says by being slower.
	hostPrepare(addressOf(memory), uint32(len(memory)))
	return &Buffer{memory: memory, length: size}, nil
}

// CopyToBuffer gives a buffer with a copy of data.
func CopyToBuffer(data []byte) (*Buffer, error) {
	b, err := NewBuffer(len(data))
	if err == nil {
		copy(b.Bytes(), data)
	}
	return b, err
}

// Bytes are the buffer's own, without a copy: to be read and written until it is given away or closed. None after that.
func (b *Buffer) Bytes() []byte { return b.memory[:b.length] }

// Truncate makes it shorter: only its first size bytes are given away.
func (b *Buffer) Truncate(size int) { b.length = min(b.length, max(size, 0)) }

// Give gives it to every target of this function, and returns when the function of each has handled it. To several of this
// container's the pages are given to the last one, and the others get copies.
//
// An error says that a target complained, or that nothing was sent. In the first case the buffer is gone, in the second it is
// as it was: Given tells.
func (b *Buffer) Give() error { return b.give("") }

// GiveTo is Give to one target, by its name.
func (b *Buffer) GiveTo(target string) error {
	if target == "" {
		// To the host no name means all of them.
		return &Error{Status: NoTarget}
	}
	return b.give(target)
}

func (b *Buffer) give(target string) error {
	name, nameLength := parts(target)
	status := hostGive(name, nameLength, addressOf(b.memory), uint32(b.length))
	if status == OK {
		b.forget()
		return nil
	}
	err := result(status)
	// A region that the host still knows of cannot be registered again: then the bytes have not left.
	if b.memory != nil && hostRegister(addressOf(b.memory), uint32(len(b.memory))) != InvalidRegion {
		b.Close()
	}
	return err
}

// Given says whether it is gone: given away, or closed.
func (b *Buffer) Given() bool { return b.memory == nil }

// Close gives up a buffer without giving it to anybody. There is nothing to do for one that is gone.
func (b *Buffer) Close() error {
	if b.memory == nil {
		return nil
	}
	status := hostUnregister(addressOf(b.memory))
	b.forget()
	return result(status)
}

func (b *Buffer) forget() {
	delete(buffers, number(b.memory))
	b.memory, b.length = nil, 0
}
