// The payload that every language's source sends, and the checksum that both ends print of it.
#include <stdint.h>
#include <string.h>

// As many whole words of a linear congruential generator as fit, then letters.
static inline void pattern_fill(unsigned char *data, uint32_t len) {
    uint32_t words = len & ~7u;
    uint64_t n = 12345;
    for (uint32_t i = 0; i < words; i += 8) {
        n = n * 6364136223846793005u + 1442695040888963407u;
        memcpy(data + i, &n, 8);
    }
    for (uint32_t i = words; i < len; i++) data[i] = 'a' + i % 26;
}

// FNV-1a over words, then over the bytes that are left, folded to 32 bits.
static inline unsigned pattern_checksum(const unsigned char *data, uint32_t len) {
    uint32_t words = len & ~7u;
    uint64_t sum = 14695981039346656037u, word;
    for (uint32_t i = 0; i < words; i += 8) {
        memcpy(&word, data + i, 8);
        sum = (sum ^ word) * 1099511628211u;
    }
    for (uint32_t i = words; i < len; i++) sum = (sum ^ data[i]) * 1099511628211u;
    return (unsigned)(sum ^ sum >> 32);
}
