// Package quiet keeps a log readable while something fails again and again.
//
// A failing disk repeats itself thousands of times a second. A Limit lets one line
// in ten seconds through, and counts the others. It is safe for concurrent use,
// and writes no line while it holds its lock. The package starts no goroutine.
package quiet
