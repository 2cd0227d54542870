;; Sends on what it is called with, in capital letters, with all functions of the paper's Table 1 that a guest has, and with nothing
;; else. Pages: 1 its input's, 2 its result's.
(module
  (import "roadrunner" "send_to_host" (func $send_to_host (param i32 i32) (result i32)))
  (memory (export "memory") 3)
  (global $used (mut i32) (i32.const 0))
  (global $len (mut i32) (i32.const 0))
  (func (export "_initialize"))
  (func (export "allocate_memory") (param $len i32) (result i32)
    (if (i32.or (global.get $used) (i32.gt_u (local.get $len) (i32.const 65536))) (then (return (i32.const 0))))
    (global.set $used (i32.const 1))
    (i32.const 65536))
  (func (export "deallocate_memory") (param $address i32)
    (global.set $used (i32.const 0)))
  ;; The result, named by 0 or by its address.
  (func $locate (export "locate_memory_region") (param $data i32) (result i64)
    (if (result i64) (i32.or (i32.eqz (local.get $data)) (i32.eq (local.get $data) (i32.const 131072)))
      (then (i64.or (i64.const 0x2000000000000) (i64.extend_i32_u (global.get $len))))
      (else (i64.const 0))))
  (func (export "read_memory_wasm") (param $address i32) (param $len i32) (local $i i32) (local $byte i32) (local $region i64)
    (global.set $len (local.get $len))
    (block $done
      (loop $each
        (br_if $done (i32.ge_u (local.get $i) (local.get $len)))
        (local.set $byte (i32.load8_u (i32.add (local.get $address) (local.get $i))))
        (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 97)) (i32.const 26))
          (then (local.set $byte (i32.sub (local.get $byte) (i32.const 32)))))
        (i32.store8 (i32.add (i32.const 131072) (local.get $i)) (local.get $byte))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $each)))
    (local.set $region (call $locate (i32.const 0)))
    ;; Table 1 has no other way to tell the sender than to fail.
    (if (call $send_to_host (i32.wrap_i64 (i64.shr_u (local.get $region) (i64.const 32))) (i32.wrap_i64 (local.get $region)))
      (then unreachable))))
