// command: pattern-ask VERB PAYLOAD... shows what a sender can do beside sending. A payload that is a number is the pattern of that
// length, else the text itself.
//
//     call  asks each target, and prints what it answers, or the status that it says instead
//     each  sends to all targets at once, and prints each one's status
//     give  gives memory away to all targets, once it has seen that a target that does not exist leaves it as it was
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>

#include "pattern.h"

static int call(unsigned char *data, uint32_t len) {
    for (int32_t i = 0; i < rr_targets(); i++) {
        char target[100];
        rr_message answer;
        rr_target_name((uint32_t)i, target, sizeof target);
        int32_t status = rr_call(target, data, len, &answer);
        if (status != RR_OK) {
            printf("%s said %d\n", target, (int)status);
            continue;
        }
        printf("%s answered %u %08x\n", target, (unsigned)answer.len, pattern_checksum(answer.data, answer.len));
        if (rr_complete(&answer, RR_OK) != RR_OK) return 1;
    }
    return 0;
}

static int each(unsigned char *data, uint32_t len) {
    rr_send(data, len);
    for (int32_t i = 0; i < rr_targets(); i++) {
        char target[100];
        rr_target_name((uint32_t)i, target, sizeof target);
        printf("%s said %d\n", target, (int)rr_target_status((uint32_t)i));
    }
    return 0;
}

// Pages that are cheap to give: registered, and prepared before they are filled.
static int give(unsigned char *data, uint32_t len) {
    if (rr_register(data, len) != RR_OK || rr_prepare(data, len) != RR_OK) return 1;
    pattern_fill(data, len);
    unsigned sum = pattern_checksum(data, len);
    if (rr_give("nobody", data, len) != RR_NO_TARGET || pattern_checksum(data, len) != sum) return 1;
    if (rr_give(NULL, data, len) != RR_OK) return 1;
    if (len > 0 && data[0] != 0) return 1;
    printf("gave %u %08x\n", (unsigned)len, sum);
    return 0;
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i++) {
        char *end;
        uint32_t number = (uint32_t)strtoul(argv[i], &end, 10), len = *end == '\0' ? number : (uint32_t)strlen(argv[i]);
        unsigned char *data = rr_allocate_memory(len);
        if (data == NULL) return 1;
        if (*end == '\0') {
            pattern_fill(data, len);
        } else {
            memcpy(data, argv[i], len);
        }
        int failed = strcmp(verb, "call") == 0 ? call(data, len) : strcmp(verb, "each") == 0 ? each(data, len) : give(data, len);
        if (failed) {
            char error[200];
            rr_last_error(error, sizeof error);
            fprintf(stderr, "pattern-ask: %s failed: %s\n", verb, error);
            return 1;
        }
        free(data);
    }
    return 0;
}
