// Package tap writes what tests have found in the Test Anything Protocol (https://testanything.org), version 13.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T is a run of tests.
type T struct {
	count int
}

// New begins one.
func New() *T { return &T{} }

// Header says how many tests there will be; 0 is not known yet.
func (t *T) Header(count int) {
	fmt.Println("TAP version 13")
	if count > 0 {
		fmt.Printf("1..%d\n", count)
	}
}

// AutoPlan says how many there were.
func (t *T) AutoPlan() { fmt.Printf("1..%d\n", t.count) }

// Ok says how one has ended.
func (t *T) Ok(passed bool, description string) {
	t.count++
	word := "ok"
	if !passed {
		word = "not ok"
	}
	fmt.Printf("%s %d - %s\n", word, t.count, description)
}

// Pass says that one has passed.
func (t *T) Pass(description string) { t.Ok(true, description) }

// Fail says that one has failed.
func (t *T) Fail(description string) { t.Ok(false, description) }

// Skip says that some were not run.
func (t *T) Skip(count int, description string) {
	for i := 0; i < count; i++ {
		t.count++
		fmt.Printf("ok %d # SKIP %s\n", t.count, description)
	}
}

// Diagnostic says something beside.
func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

// Diagnosticf says something beside.
func (t *T) Diagnosticf(format string, values ...interface{}) { t.Diagnostic(fmt.Sprintf(format, values...)) }

// YAML says something beside that has a structure. JSON is YAML.
func (t *T) YAML(value interface{}) error {
	text, err := json.MarshalIndent(value, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}

// Todo gives what says of a test that it is expected to fail.
func (t *T) Todo() *Todo { return &Todo{t} }

// Todo is a test that is expected to fail.
type Todo struct {
	run *T
}

// Ok says how it has ended.
func (todo *Todo) Ok(passed bool, description string) {
	todo.run.Ok(passed, description+" # TODO")
}

// Fail says that it has.
func (todo *Todo) Fail(description string) { todo.Ok(false, description) }
