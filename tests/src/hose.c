// A function with a hose, of many verbs: what the end-to-end tests ask of two containers.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// Every byte up to 16 MiB: word by word, because it is often interpreted. Of more, one word in 512.
static unsigned checksum(const unsigned char *data, size_t len) {
    unsigned long long sum = 14695981039346656037ull, word;
    size_t step = len > (16 << 20) ? 4096 : 8, i = 0;
    for (; i + 8 <= len; i += step) {
        memcpy(&word, data + i, 8);
        sum = (sum ^ word) * 1099511628211ull;
    }
    for (i = len & ~7u; i < len; i++) sum = (sum ^ data[i]) * 1099511628211ull;
    return sum ^ sum >> 32;
}

static unsigned char *payload(size_t len) {
    unsigned char *data = malloc(len ? len : 1);
    if (!data) exit(98);
    unsigned long long n = 12345;
    for (size_t i = 0; i + 8 <= len; i += 8) {
        n = n * 6364136223846793005ull + 1442695040888963407ull;
        memcpy(data + i, &n, 8);
    }
    for (size_t i = len & ~7u; i < len; i++) data[i] = 'a' + i % 26;
    return data;
}

static void report(const char *what, size_t len, unsigned sum, int32_t status) {
    char error[300] = "";
    if (status < 0) rr_last_error(error, sizeof error);
    printf("%s %zu %08x status %d %s\n", what, len, sum, (int)status, error);
}

int main(int argc, char **argv) {
    const char *verb = argc > 1 ? argv[1] : "";
    const char *a = argc > 2 ? argv[2] : "0";
    const char *b = argc > 3 ? argv[3] : "0";
    setvbuf(stdout, 0, _IOLBF, 0);
    if (!strcmp(verb, "send")) { // LEN: to all targets
        size_t len = strtoul(a, 0, 0);
        unsigned char *data = payload(len);
        unsigned sum = checksum(data, len);
        int32_t status = rr_send(data, len);
        report("sent", len, sum, status);
        return checksum(data, len) != sum ? 97 : status != 0;
    }
    if (!strcmp(verb, "send-to")) { // NAME LEN
        size_t len = strtoul(b, 0, 0);
        unsigned char *data = payload(len);
        int32_t status = rr_send_to(a, data, len);
        report("sent", len, checksum(data, len), status);
        return status != 0;
    }
    if (!strcmp(verb, "send-many")) { // COUNT LEN: until one fails
        size_t len = strtoul(b, 0, 0);
        unsigned char *data = calloc(len, 1);
        for (int n = atoi(a); n > 0; n--) {
            int32_t status = rr_send(data, len);
            if (status) return report("failed", len, 0, status), 1;
            puts("sent one");
        }
        return 0;
    }
    if (!strcmp(verb, "receive")) { // COUNT STATUS
        puts("ready");
        for (int n = atoi(a); n > 0; n--) {
            rr_message message;
            int32_t status = rr_receive(&message, -1);
            if (status) return report("receive", 0, 0, status), 1;
            char sender[100];
            rr_sender(message.data, sender, sizeof sender);
            printf("received %u %08x from %s\n", message.len, checksum(message.data, message.len), sender);
            if (rr_complete(&message, atoi(b))) return 96;
        }
        return 0;
    }
    if (!strcmp(verb, "receive-within")) { // MS
        rr_message message;
        int32_t status = rr_receive(&message, atoi(a));
        report("receive", 0, 0, status);
        return status != 0;
    }
    if (!strcmp(verb, "keep")) { // takes one, and never says that it has handled it
        rr_message message;
        int32_t status = rr_receive(&message, -1);
        if (status) return report("receive", 0, 0, status), 1;
        puts("kept");
        for (;;) {}
    }
    if (!strcmp(verb, "drop")) { // takes one, and ends without a word
        rr_message message;
        return rr_receive(&message, -1) ? 1 : 5;
    }
    if (!strcmp(verb, "trap")) {
        rr_message message;
        if (rr_receive(&message, -1)) return 1;
        __builtin_trap();
    }
    if (!strcmp(verb, "unregistered")) { // regions that nobody vouches for
        static char data[64];
        printf("%d %d\n", (int)send_to_host(data, 64), (int)send_to_host((void *)0x7fffffff, 64));
        return 0;
    }
    fprintf(stderr, "no such verb: %s\n", verb);
    return 99;
}
