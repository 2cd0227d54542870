// command: pattern-sink [COUNT] receives COUNT payloads (default: 1), and prints the length, checksum and sender of each.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>
#include <stdlib.h>

#include "pattern.h"

int main(int argc, char **argv) {
    for (int left = argc > 1 ? atoi(argv[1]) : 1; left > 0; left--) {
        rr_message message;
        int32_t status = rr_receive(&message, -1);
        if (status != RR_OK) {
            fprintf(stderr, "pattern-sink: status %d\n", (int)status);
            return 1;
        }
        char sender[100];
        rr_sender(message.data, sender, sizeof sender);
        printf("received %u %08x from %s\n", (unsigned)message.len, pattern_checksum(message.data, message.len), sender);
        if (rr_complete(&message, RR_OK) != RR_OK) return 1;
    }
    return 0;
}
