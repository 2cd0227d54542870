// command: a sender with nothing but the functions of the paper's Table 1, and without roadrunner.h (Algorithm 1).
#include <stdint.h>
#include <stdio.h>

__attribute__((import_module("roadrunner"), import_name("send_to_host"))) int32_t send_to_host(const void *, uint32_t);

static const char result[] = "seven functions are enough";

// The only value that this function knows is its result, whether it is asked for as 0 or by its address.
__attribute__((export_name("locate_memory_region"))) int64_t locate_memory_region(const void *data) {
    if (data != 0 && data != result) return 0;
    return (int64_t)(((uint64_t)(uintptr_t)result << 32) | (sizeof result - 1));
}

int main(void) {
    uint64_t region = (uint64_t)locate_memory_region(0);
    int32_t status = send_to_host((const void *)(uintptr_t)(region >> 32), (uint32_t)region);
    printf("status %d\n", (int)status);
    return status == 0 ? 0 : 1;
}
