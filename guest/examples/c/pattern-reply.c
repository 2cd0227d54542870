// command: pattern-reply [COUNT] receives COUNT payloads, or until none will come any more, and answers each with a copy of it. Prints
// what pattern-sink prints, and rejects a text that begins with '!' with code 33.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>

#include "pattern.h"

static int32_t reply(rr_message *message) {
    char sender[100];
    rr_sender(message->data, sender, sizeof sender);
    printf("received %u %08x from %s\n", (unsigned)message->len, pattern_checksum(message->data, message->len), sender);
    if (message->len > 0 && *(const char *)message->data == '!') return rr_complete(message, 33);
    void *answer = rr_allocate_memory(message->len);
    if (answer == NULL) return RR_NO_MEMORY;
    memcpy(answer, message->data, message->len);
    int32_t status = rr_register(answer, message->len);
    if (status == RR_OK) status = rr_answer(message->data, answer, message->len);
    if (status == RR_OK) status = rr_complete(message, RR_OK);
    free(answer);
    return status;
}

int main(int argc, char **argv) {
    for (int left = argc > 1 ? atoi(argv[1]) : -1; left != 0;) {
        rr_message message;
        int32_t status = rr_receive(&message, 100);
        if (status == RR_TIMEOUT) continue;
        if (status == RR_CLOSED) {
            printf("closed\n");
            return 0;
        }
        if (status == RR_OK) status = reply(&message);
        if (status != RR_OK) {
            fprintf(stderr, "pattern-reply: status %d\n", (int)status);
            return 1;
        }
        left--;
    }
    return 0;
}
