package ingest

import (
	"bytes"
	"testing"
)

// FuzzSplitter: lines do not depend on how they come in chunks.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nbb\n\nccc"), uint8(1), uint8(2))
	f.Add([]byte("\n\n"), uint8(1), uint8(1))
	f.Add([]byte("no end"), uint8(3), uint8(4))
	f.Fuzz(func(t *testing.T, text []byte, size, limit uint8) {
		s := splitter{max: int(limit)}
		var got []string
		note := func(line []byte, long bool) {
			if long {
				line = []byte("too long")
			}
			got = append(got, string(line))
		}
		for rest := text; len(rest) > 0; {
			chunk := rest[:min(len(rest), int(size)+1)]
			rest = rest[len(chunk):]
			for {
				line, long, after, ok := s.cut(chunk)
				if !ok {
					break
				}
				note(line, long)
				chunk = after
			}
			if len(s.carry) > s.max {
				t.Fatalf("%d bytes are kept of lines of %d", len(s.carry), s.max)
			}
		}
		if line, long, ok := s.last(); ok {
			note(line, long)
		}
		want := bytes.Split(text, []byte("\n"))
		if len(want[len(want)-1]) == 0 {
			want = want[:len(want)-1]
		}
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}
		for i, line := range want {
			if len(line) > s.max {
				line = []byte("too long")
			}
			if got[i] != string(line) {
				t.Fatalf("line %d is %q, want %q", i, got[i], line)
			}
		}
	})
}
