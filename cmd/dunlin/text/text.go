// Package text writes what the commands show: sizes, times, ids and tables.
//
// What a command prints is read by people and, in tests, held against golden
// strings: so the same thing is written in the same way everywhere, and nothing
// here looks at a terminal, a locale or the time of day. Functions are pure, apart
// from Table, which writes to the writer it is given. There are no goroutines.
package text

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Bytes writes a size with a binary unit.
func Bytes(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, units[unit])
}

// Seconds writes a length of time in whole seconds.
func Seconds(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// Time writes a moment; nil is none.
func Time(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

// Short is the beginning of an id, which is enough to tell members apart.
func Short(id string) string { return id[:min(8, len(id))] }

// Count writes a number with its noun, in the singular if it is one.
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Table aligns rows of cells under a header.
func Table(out io.Writer, header []string, rows [][]string) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}
