// command: pattern-source LEN... sends a payload of each length to the function's targets.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>
#include <stdlib.h>

#include "pattern.h"

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        uint32_t len = (uint32_t)strtoul(argv[i], NULL, 10);
        unsigned char *data = malloc(len == 0 ? 1 : len);
        if (data == NULL) return 1;
        pattern_fill(data, len);
        int32_t status = rr_send(data, len);
        if (status != RR_OK) {
            char error[200];
            rr_last_error(error, sizeof error);
            fprintf(stderr, "pattern-source: status %d: %s\n", (int)status, error);
            return 1;
        }
        printf("sent %u %08x\n", (unsigned)len, pattern_checksum(data, len));
        free(data);
    }
    return 0;
}
