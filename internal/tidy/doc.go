// Package tidy holds the rules of the house as tests.
//
// A rule that nobody runs is met only in part, so every rule that matters is
// checked on each build: which package may import which (layers), who may use
// which library, how long functions, files and packages may be, that
// interfaces stay small, that packages say what they are, and that nothing
// keeps global state. The tests parse the source; they run none of it, own no
// goroutines and need no network.
//
// When a rule fights you, change the design and record why in docs/adr; the
// table in layers_test.go is the one place where layers are written down.
package tidy
