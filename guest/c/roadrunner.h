/*
 * The hose for functions in C: the guest contract of guest/abi/src/lib.rs, which says what every function means, who owns a
 * region when, and what each status is. Nothing but this file is needed:
 *
 *     clang --target=wasm32-wasi -mexec-model=command -o source.wasm source.c      a program with a main
 *     clang --target=wasm32-wasi -mexec-model=reactor -o handler.wasm handler.c    a handler, called by the host
 *
 * (With an older wasi-libc, such as Debian 12's, a program needs command.c, too: see there.)
 *
 * One file of the program defines RR_IMPLEMENTATION before it includes this one: that file gets what the host calls
 * (allocate_memory, deallocate_memory, locate_memory_region). A handler also says RR_HANDLER(function) in one place.
 *
 * Sending copies nothing in the guest; a received payload is read where the host has put it.
 */
#ifndef ROADRUNNER_H
#define ROADRUNNER_H

#include <stddef.h>
#include <stdint.h>

#if !defined(__wasm32__)
#error "roadrunner.h is for wasm32; compile with: clang --target=wasm32-wasi"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define RR_IMPORT(name) __attribute__((import_module("roadrunner"), import_name(name)))
#define RR_EXPORT(name) __attribute__((export_name(name), used))

/* Statuses: 0 is success, negative numbers are the host's, positive ones are what a receiving function has said. */
enum {
    RR_OK = 0,
    RR_INVALID_ARGUMENT = -1,
    RR_INVALID_REGION = -2,
    RR_NO_HOSE = -3,
    RR_NO_TARGET = -4,
    RR_TOO_LARGE = -5,
    RR_TIMEOUT = -6,
    RR_UNAUTHENTICATED = -7,
    RR_PROTOCOL = -8,
    RR_LOST = -9,
    RR_UNKNOWN = -10,
    RR_REFUSED = -11,
    RR_TRAPPED = -12,
    RR_BUSY = -13,
    RR_NO_EXPORT = -14,
    RR_NO_MEMORY = -15,
    RR_HOST = -16,
    RR_CLOSED = -17,
};

/* The host's functions, as they are. A payload must be registered, or be vouched for by locate_memory_region. */
RR_IMPORT("send_to_host") int32_t send_to_host(const void *address, uint32_t len);
RR_IMPORT("send_to") int32_t rr_host_send_to(const char *name, uint32_t name_len, const void *address, uint32_t len);
RR_IMPORT("give_to_host")
int32_t rr_host_give(const char *name, uint32_t name_len, const void *address, uint32_t len);
RR_IMPORT("call") int64_t rr_host_call(const char *name, uint32_t name_len, const void *address, uint32_t len);
RR_IMPORT("answer") int32_t rr_answer(const void *payload, const void *address, uint32_t len);
RR_IMPORT("targets") int32_t rr_targets(void);
RR_IMPORT("target_name") int32_t rr_host_target_name(uint32_t index, char *buffer, uint32_t capacity);
RR_IMPORT("target_status") int32_t rr_target_status(uint32_t index);
RR_IMPORT("prepare_memory") int32_t rr_prepare(const void *address, uint32_t len);
RR_IMPORT("receive") int64_t rr_host_receive(int32_t timeout_ms);
RR_IMPORT("complete") int32_t rr_host_complete(const void *address, int32_t status);
RR_IMPORT("set_status") int32_t rr_set_status(int32_t status);
RR_IMPORT("peer_name") int32_t rr_host_peer_name(const void *address, char *buffer, uint32_t capacity);
RR_IMPORT("last_error") int32_t rr_host_last_error(char *buffer, uint32_t capacity);
RR_IMPORT("register_memory") int32_t rr_register(const void *address, uint32_t len);
RR_IMPORT("unregister_memory") int32_t rr_unregister(const void *address);

/* A received payload: the function's own until rr_complete. */
typedef struct {
    void *data;
    uint32_t len;
} rr_message;

/* What rr_send lets locate_memory_region vouch for while it runs. */
typedef struct {
    const void *address;
    uint32_t len;
} rr_region;
extern rr_region rr_outgoing;

/* Sends len bytes to every target, and returns when the function of each has handled them. */
static inline int32_t rr_send(const void *data, uint32_t len) {
    rr_outgoing = (rr_region){data, len};
    int32_t status = send_to_host(data, len);
    rr_outgoing = (rr_region){NULL, 0};
    return status;
}

static inline uint32_t rr_length(const char *name) {
    uint32_t len = 0;
    while (name[len] != '\0') len++;
    return len;
}

/* The same to one target, by its name (a C string). */
static inline int32_t rr_send_to(const char *name, const void *data, uint32_t len) {
    rr_outgoing = (rr_region){data, len};
    int32_t status = rr_host_send_to(name, rr_length(name), data, len);
    rr_outgoing = (rr_region){NULL, 0};
    return status;
}

/* Gives len bytes away, to one target or with NULL to all: they are zero afterwards, if they have left. With pages of their own
   (rr_allocate_memory gives them from 256 KiB on) they change hands without a copy, within a container; between containers, if they were
   registered by rr_register and prepared by rr_prepare before they were written. After a status other than RR_OK, rr_register tells whether
   a region has left: it refuses (RR_INVALID_REGION) what is still registered. rr_unregister loses the bytes of a prepared one. */
static inline int32_t rr_give(const char *name, const void *data, uint32_t len) {
    rr_outgoing = (rr_region){data, len};
    int32_t status = rr_host_give(name == NULL ? "" : name, name == NULL ? 0 : rr_length(name), data, len);
    rr_outgoing = (rr_region){NULL, 0};
    return status;
}

/* The upper half is an address, or -1 before a status; no region begins in the last byte of 4 GiB. */
static inline int32_t rr_unpack(rr_message *message, int64_t packed) {
    if ((packed >> 32) == -1) return (int32_t)packed;
    message->data = (void *)(uintptr_t)(uint32_t)((uint64_t)packed >> 32);
    message->len = (uint32_t)packed;
    return RR_OK;
}

/* Waits for a payload: for ever if timeout_ms is negative. RR_OK fills *message; RR_TIMEOUT when nothing came. */
static inline int32_t rr_receive(rr_message *message, int32_t timeout_ms) {
    return rr_unpack(message, rr_host_receive(timeout_ms));
}

/* Sends to one target and waits for its answer, which RR_OK puts into *answer: rr_complete it when it was read. */
static inline int32_t rr_call(const char *name, const void *data, uint32_t len, rr_message *answer) {
    rr_outgoing = (rr_region){data, len};
    int64_t packed = rr_host_call(name, rr_length(name), data, len);
    rr_outgoing = (rr_region){NULL, 0};
    return rr_unpack(answer, packed);
}

/* The payload is done with: its sender's call returns status (0 or positive), its memory is freed. */
static inline int32_t rr_complete(rr_message *message, int32_t status) {
    int32_t result = rr_host_complete(message->data, status);
    message->data = NULL;
    message->len = 0;
    return result;
}

/* Adds the 0 of a C string to a text that the host may have cut; returns the text's whole length, or a status. */
static inline int32_t rr_terminate(char *buffer, uint32_t capacity, int32_t len) {
    if (capacity > 0) buffer[len >= 0 && (uint32_t)len < capacity ? (uint32_t)len : 0] = '\0';
    return len;
}

/* The name of a payload's sender as a C string: empty when it does not fit. Returns its length. data is a message's, or
   what the handler was given. */
static inline int32_t rr_sender(const void *data, char *buffer, uint32_t capacity) {
    return rr_terminate(buffer, capacity, rr_host_peer_name(data, buffer, capacity > 0 ? capacity - 1 : 0));
}

/* The name of a target, by its number, likewise. */
static inline int32_t rr_target_name(uint32_t index, char *buffer, uint32_t capacity) {
    return rr_terminate(buffer, capacity, rr_host_target_name(index, buffer, capacity > 0 ? capacity - 1 : 0));
}

/* The text of the last error, likewise. */
static inline int32_t rr_last_error(char *buffer, uint32_t capacity) {
    return rr_terminate(buffer, capacity, rr_host_last_error(buffer, capacity > 0 ? capacity - 1 : 0));
}

/*
 * RR_HANDLER(function): the host calls int32_t function(void *data, uint32_t len) with each payload; what it
 * returns (0 or positive) is what the sender's call returns. The payload is gone after that.
 */
#define RR_HANDLER(function) \
    RR_EXPORT("read_memory_wasm") void rr_read_memory_wasm(void *data, uint32_t len) { \
        int32_t rr_status = function(data, len); \
        if (rr_status != RR_OK) (void)rr_set_status(rr_status); \
    } \
    _Static_assert(1, "RR_HANDLER is followed by a semicolon")

#ifdef RR_IMPLEMENTATION
#include <stdlib.h>

rr_region rr_outgoing = {NULL, 0};

/* Never NULL for 0 bytes, which the contract needs an address for. What is large gets pages of its own, and from 2 MiB on
   whole tables of them, so that payloads can be moved instead of copied. */
RR_EXPORT("allocate_memory") void *rr_allocate_memory(uint32_t len) {
    if (len < 262144) return malloc(len == 0 ? 1 : len);
    if (len > UINT32_MAX - 65535) return NULL;
    return aligned_alloc(len < 2097152 ? 65536 : 2097152, (len + 65535) / 65536 * 65536);
}

RR_EXPORT("deallocate_memory") void rr_deallocate_memory(void *address) { free(address); }

/* Vouches for what is being sent, and for nothing else. */
RR_EXPORT("locate_memory_region") int64_t rr_locate_memory_region(const void *data) {
    if (data == NULL || data != rr_outgoing.address) return 0;
    return (int64_t)(((uint64_t)(uintptr_t)data << 32) | rr_outgoing.len);
}
#endif

#ifdef __cplusplus
}
#endif

#endif
