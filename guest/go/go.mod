module roadrunner

// The first with go:wasmexport.
go 1.24
