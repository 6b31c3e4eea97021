package cursor

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/token"
)

func TestCursorRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		partition := rapid.SliceOf(rapid.Byte()).Draw(t, "partition")
		c := Cursor{
			Table:   rapid.Uint32().Draw(t, "table"),
			Reverse: rapid.Bool().Draw(t, "reverse"),
			Token:   token.Of(partition), Partition: partition,
			Suffix: rapid.SliceOf(rapid.Byte()).Draw(t, "suffix"),
		}
		got, err := Parse(c.String())
		if err != nil {
			t.Fatal(err)
		}
		if got.Table != c.Table || got.Reverse != c.Reverse || got.Token != c.Token ||
			!bytes.Equal(got.Partition, c.Partition) || !bytes.Equal(got.Suffix, c.Suffix) {
			t.Fatalf("got %+v, want %+v", got, c)
		}
	})
}

func TestCursorRefusesDamage(t *testing.T) {
	whole := Cursor{Table: 1, Token: token.Of([]byte("stream")), Partition: []byte("stream"), Suffix: []byte("suffix")}.String()
	bad := map[string]string{
		"empty": "", "short": "AQ", "no base64": "!!!!", "padding": whole + "=", "too long": string(make([]byte, MaxLength+1)),
		"another token": Cursor{Table: 1, Token: 5, Partition: []byte("stream")}.String(),
	}
	for i := range whole {
		damaged := []byte(whole)
		damaged[i] ^= 1
		bad["damaged at "+string(rune('a'+i%26))+whole[i:i+1]] = string(damaged)
		bad["cut at "+whole[:i]] = whole[:i]
	}
	for name, text := range bad {
		_, err := Parse(text)
		var cursor *Error
		if !errors.As(err, &cursor) {
			t.Errorf("%s: Parse(%q): error %v, want a *Error", name, text, err)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(Cursor{Table: 1, Token: token.Of([]byte("s")), Partition: []byte("s")}.String())
	f.Add("AQAAAAAB")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err == nil && c.String() != text {
			t.Fatalf("%q is accepted, but is not what its cursor encodes to: %q", text, c.String())
		}
	})
}
