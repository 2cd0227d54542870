/*
 * The beginning of a command, for toolchains whose own leaves the constructors to the linker (older wasi-libc, such as
 * Debian 12's of May 2022). There the linker wraps every export: each call of allocate_memory by the host would run all constructors before
 * and all destructors after it, exit handlers included. A call of __wasm_call_ctors in an object file keeps it from that.
 *
 *     clang --target=wasm32-wasi -nostartfiles -o function.wasm command.c function.c
 *
 * Newer toolchains begin like this by themselves; there this file is not needed.
 */
void __wasm_call_ctors(void);
void __wasm_call_dtors(void);
int __main_void(void);
__attribute__((import_module("wasi_snapshot_preview1"), import_name("proc_exit"), noreturn)) void rr_proc_exit(int code);

__attribute__((export_name("_start"))) void _start(void) {
    static volatile int started;
    if (started) __builtin_trap();
    started = 1;
    __wasm_call_ctors();
    int code = __main_void();
    __wasm_call_dtors();
    if (code != 0) rr_proc_exit(code);
}
