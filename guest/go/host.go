//go:build wasip1

package roadrunner

import "unsafe"

// The host's functions, as they are.

//go:wasmimport roadrunner send_to_host
func hostSend(address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner send_to
func hostSendTo(name unsafe.Pointer, nameLength uint32, address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner give_to_host
func hostGive(name unsafe.Pointer, nameLength uint32, address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner call
func hostCall(name unsafe.Pointer, nameLength uint32, address unsafe.Pointer, length uint32) int64

//go:wasmimport roadrunner answer
func hostAnswer(payload uint32, address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner prepare_memory
func hostPrepare(address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner targets
func hostTargets() int32

//go:wasmimport roadrunner target_name
func hostTargetName(index uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport roadrunner target_status
func hostTargetStatus(index uint32) Status

//go:wasmimport roadrunner receive
func hostReceive(timeoutMs int32) int64

//go:wasmimport roadrunner complete
func hostComplete(address uint32, status Status) Status

//go:wasmimport roadrunner set_status
func hostSetStatus(status Status) Status

//go:wasmimport roadrunner peer_name
func hostPeerName(address uint32, buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport roadrunner last_error
func hostLastError(buffer unsafe.Pointer, capacity uint32) int32

//go:wasmimport roadrunner register_memory
func hostRegister(address unsafe.Pointer, length uint32) Status

//go:wasmimport roadrunner unregister_memory
func hostUnregister(address unsafe.Pointer) Status

// The text that an import gives, which says its length first.
func text(get func(buffer unsafe.Pointer, capacity uint32) int32) string {
	length := get(nil, 0)
	if length <= 0 {
		return ""
	}
	buffer := make([]byte, length)
	if get(addressOf(buffer), uint32(length)) != length {
		return ""
	}
	return string(buffer)
}
