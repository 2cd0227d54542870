//go:build wasip1

package roadrunner

import (
	"math"
	"unsafe"
)

// Memory from pagesFrom on begins and ends at a multiple of page, and from tablesFrom on begins at a multiple of table, which is
// where pages change hands with the least work (hose/src/pages.rs). In bytes.
const (
	page       = 64 << 10
	pagesFrom  = 256 << 10
	tablesFrom = 2 << 20
	table      = 2 << 20
)

var (
	// What the host has asked for and not given back, by address: the collector sees no reference of the host's.
	regions = map[uint32][]byte{}
	// The memory of buffers, which the host knows of until they are given away or closed.
	buffers = map[uint32][]byte{}
	// Answers, by the address of the payload that they are an answer to: the host reads them until it gives that back.
	answers = map[uint32][]byte{}
	// What is being sent: what locateMemoryRegion vouches for. A global, so that it lies on the heap, which never moves.
	outgoing []byte
	// An address for a payload without bytes.
	nothing [1]byte
)

// length bytes at least, never none, on pages of their own from pagesFrom on. It is as long as all of these pages.
func allocate(length int) []byte {
	if length < pagesFrom {
		return make([]byte, max(length, 1))
	}
	size, alignment := (length+page-1)/page*page, page
	if length >= tablesFrom {
		alignment = table
	}
	// The heap never moves: what is aligned stays so.
	memory := make([]byte, size+alignment)
	start := -int(number(memory)) & (alignment - 1)
	return memory[start : start+size : start+size]
}

// The same bytes, with an address even where there are none.
func region(data []byte) []byte {
	if len(data) == 0 {
		return nothing[:0]
	}
	return data
}

func addressOf(data []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(data)) }

// The address as the host knows it.
func number(data []byte) uint32 { return uint32(uintptr(addressOf(data))) }

// Runs send while locateMemoryRegion vouches for data.
func vouched[T any](data []byte, send func(address unsafe.Pointer, length uint32) T) T {
	outgoing = region(data)
	answer := send(addressOf(outgoing), uint32(len(data)))
	outgoing = nil
	return answer
}

// Address and length of a string, for the host.
func parts(name string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(name)), uint32(len(name))
}

// What the host calls. It does so only while this program is inside one of the imports, or not running at all.

//go:wasmexport allocate_memory
func allocateMemory(length uint32) uint32 {
	if length > math.MaxInt32 {
		return 0
	}
	data := allocate(int(length))
	regions[number(data)] = data
	return number(data)
}

//go:wasmexport deallocate_memory
func deallocateMemory(address uint32) {
	delete(regions, address)
	// The host has read it, and forgotten its region.
	delete(answers, address)
}

// Vouches for what is being sent, and for nothing else.
//
//go:wasmexport locate_memory_region
func locateMemoryRegion(data uint32) int64 {
	address := number(outgoing)
	if address == 0 || data != address {
		return 0
	}
	return int64(uint64(address)<<32 | uint64(len(outgoing)))
}
