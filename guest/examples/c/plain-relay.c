// reactor: sends on what it is called with, in capital letters, with all functions of the paper's Table 1 that a guest has, with
// nothing else, and without roadrunner.h.
#include <stdint.h>
#include <stdlib.h>

__attribute__((import_module("roadrunner"), import_name("send_to_host"))) int32_t send_to_host(const void *, uint32_t);

static char *result;
static uint32_t result_len;

__attribute__((export_name("allocate_memory"))) void *allocate_memory(uint32_t len) { return malloc(len ? len : 1); }

__attribute__((export_name("deallocate_memory"))) void deallocate_memory(void *address) { free(address); }

// The only value that this function knows is its result, whether it is asked for as 0 or by its address.
__attribute__((export_name("locate_memory_region"))) int64_t locate_memory_region(const void *data) {
    if (data != 0 && data != result) return 0;
    return (int64_t)(((uint64_t)(uintptr_t)result << 32) | result_len);
}

__attribute__((export_name("read_memory_wasm"))) void read_memory_wasm(const char *address, uint32_t len) {
    result = malloc(len ? len : 1);
    result_len = len;
    for (uint32_t i = 0; i < len; i++) {
        result[i] = address[i] >= 'a' && address[i] <= 'z' ? address[i] - 'a' + 'A' : address[i];
    }
    uint64_t region = (uint64_t)locate_memory_region(0);
    int32_t status = send_to_host((const void *)(uintptr_t)(region >> 32), (uint32_t)region);
    free(result);
    // Table 1 has no other way to tell the sender.
    if (status != 0) __builtin_trap();
}
