// reactor: prints every text that it is called with; what begins with '!' gets the status 33.
#define RR_IMPLEMENTATION
#include <roadrunner.h>

#include <stdio.h>

static int32_t handle(void *data, uint32_t len) {
    const char *text = data;
    printf("c-handler got: %.*s\n", (int)len, text);
    fflush(stdout);
    return len > 0 && text[0] == '!' ? 33 : 0;
}

RR_HANDLER(handle);
