// Package pattern is the payload that every language's source sends, and the checksum that both ends print of it.
package pattern

import "encoding/binary"

// Payload gives length bytes: as many whole words of a linear congruential generator as fit, then letters.
func Payload(length int) []byte {
	data := make([]byte, length)
	words := length / 8 * 8
	n := uint64(12345)
	for i := 0; i < words; i += 8 {
		n = n*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(data[i:], n)
	}
	for i := words; i < length; i++ {
		data[i] = 'a' + byte(i%26)
	}
	return data
}

// Checksum is FNV-1a over words, then over the bytes that are left, folded to 32 bits.
func Checksum(data []byte) uint32 {
	sum := uint64(14695981039346656037)
	words := len(data) / 8 * 8
	for i := 0; i < words; i += 8 {
		sum = (sum ^ binary.LittleEndian.Uint64(data[i:])) * 1099511628211
	}
	for _, b := range data[words:] {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return uint32(sum ^ sum>>32)
}
