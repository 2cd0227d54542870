;; A sender with nothing but the functions of the paper's Table 1: sends 5 bytes, and exits with the status if that is not 0.
(module
  (import "roadrunner" "send_to_host" (func $send_to_host (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 1024) "plain")
  ;; The result, named by 0 or by its address: address 1024, length 5.
  (func (export "locate_memory_region") (param $data i32) (result i64)
    (if (result i64) (i32.or (i32.eqz (local.get $data)) (i32.eq (local.get $data) (i32.const 1024)))
      (then (i64.const 0x40000000005))
      (else (i64.const 0))))
  (func (export "_start") (local $status i32)
    (local.set $status (call $send_to_host (i32.const 1024) (i32.const 5)))
    (if (local.get $status) (then (call $proc_exit (i32.const 1))))))
