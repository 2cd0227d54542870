// reactor: a receiver with nothing but the functions of the paper's Table 1, and without roadrunner.h.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

__attribute__((export_name("allocate_memory"))) void *allocate_memory(uint32_t len) { return malloc(len ? len : 1); }

__attribute__((export_name("deallocate_memory"))) void deallocate_memory(void *address) { free(address); }

__attribute__((export_name("read_memory_wasm"))) void read_memory_wasm(const char *address, uint32_t len) {
    printf("received: %.*s\n", (int)len, address);
    fflush(stdout);
}
