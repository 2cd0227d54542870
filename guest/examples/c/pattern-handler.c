// reactor: called with its input, prints what pattern-sink prints, answers a copy of it, and rejects a text that begins with '!' with
// code 33.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>

#include "pattern.h"

// The last answer: the host reads it when the handler has returned.
static void *answer;

static int32_t handle(void *data, uint32_t len) {
    char sender[100];
    rr_sender(data, sender, sizeof sender);
    printf("received %u %08x from %s\n", (unsigned)len, pattern_checksum(data, len), sender);
    fflush(stdout);
    if (len > 0 && *(const char *)data == '!') return 33;
    free(answer);
    answer = rr_allocate_memory(len);
    if (answer == NULL || rr_register(answer, len) != RR_OK) return 1;
    memcpy(answer, data, len);
    return rr_answer(data, answer, len) == RR_OK ? 0 : 1;
}

RR_HANDLER(handle);
