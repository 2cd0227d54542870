// command: c-source TEXT sends a text to the function's targets, with roadrunner.h.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *text = argc > 1 ? argv[1] : "hello from C";
    int32_t status = rr_send(text, (uint32_t)strlen(text));
    char error[200];
    rr_last_error(error, sizeof error);
    printf("sent %zu bytes: status %d%s%s\n", strlen(text), (int)status, status < 0 ? ": " : "", status < 0 ? error : "");
    return status == RR_OK ? 0 : 1;
}
