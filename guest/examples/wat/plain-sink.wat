;; A receiver with nothing but the functions of the paper's Table 1: prints what it is called with. It has one region, of a
;; page: while that is in use, or when it is too small, there is no memory to be had.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2)
  (global $used (mut i32) (i32.const 0))
  (func (export "_initialize"))
  (func (export "allocate_memory") (param $len i32) (result i32)
    (if (i32.or (global.get $used) (i32.gt_u (local.get $len) (i32.const 65536))) (then (return (i32.const 0))))
    (global.set $used (i32.const 1))
    (i32.const 65536))
  (func (export "deallocate_memory") (param $address i32)
    (global.set $used (i32.const 0)))
  (func (export "read_memory_wasm") (param $address i32) (param $len i32)
    (i32.store (i32.const 16) (local.get $address))
    (i32.store (i32.const 20) (local.get $len))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))))
