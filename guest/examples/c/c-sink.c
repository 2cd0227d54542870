// command: c-sink [STATUS] receives one text, prints it, and completes it with a status.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    rr_message message;
    int32_t status = rr_receive(&message, -1);
    if (status != RR_OK) {
        fprintf(stderr, "c-sink: status %d\n", (int)status);
        return 1;
    }
    char sender[64];
    rr_sender(message.data, sender, sizeof sender);
    printf("%s says: %.*s\n", sender, (int)message.len, (const char *)message.data);
    return rr_complete(&message, argc > 1 ? atoi(argv[1]) : 0) == RR_OK ? 0 : 1;
}
