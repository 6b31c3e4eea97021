package stream

import (
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/token"
)

func drawKey(t *rapid.T, name string) []byte {
	if b := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(t, name); len(b) > 0 {
		return b
	}
	return nil
}

// TestRequestRoundTrip: requests come back as they were; none is read if it is cut
// short, longer, or of another version.
func TestRequestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Request{
			Generation: rapid.Uint64().Draw(t, "generation"), Version: rapid.Uint64().Draw(t, "version"),
			Placement: rapid.IntRange(0, placementsMax).Draw(t, "placement"), Range: token.RangeID(rapid.IntRange(0, token.Ranges-1).Draw(t, "range")),
			After: drawKey(t, "after"), MaxBytes: rapid.IntRange(0, bytesMax).Draw(t, "bytes"),
		}
		b := m.Encode()
		if got, err := DecodeRequest(b); err != nil || !reflect.DeepEqual(got, m) {
			t.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
		for n := range b {
			if _, err := DecodeRequest(b[:n]); !errors.Is(err, ErrMessage) {
				t.Fatalf("the first %d bytes are read: %v", n, err)
			}
		}
		if _, err := DecodeRequest(append(b[:len(b):len(b)], 0)); !errors.Is(err, ErrMessage) {
			t.Fatalf("a byte too many is read: %v", err)
		}
		b[0]++
		if _, err := DecodeRequest(b); !errors.Is(err, ErrMessage) {
			t.Fatalf("another version is read: %v", err)
		}
	})
}

// TestAnswerRoundTrip: pages come back as they were; no page is read that any byte of
// was changed or lost.
func TestAnswerRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := Answer{Next: drawKey(t, "next"), Entries: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "entries")}
		b := m.Encode()
		got, err := DecodeAnswer(b)
		if err != nil || string(got.Next) != string(m.Next) || (got.Next == nil) != (m.Next == nil) || string(got.Entries) != string(m.Entries) {
			t.Fatalf("%+v came back as %+v, %v", m, got, err)
		}
		bad := func(what string, b []byte) {
			if _, err := DecodeAnswer(b); !errors.Is(err, ErrMessage) && !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: %v", what, err)
			}
		}
		for n := range b {
			bad("cut short", b[:n])
			b[n] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			again, err := DecodeAnswer(b)
			if err == nil {
				t.Fatalf("byte %d was changed, and %+v was read", n, again)
			}
			copy(b, m.Encode())
		}
		bad("a byte too many", append(b[:len(b):len(b)], 0))
	})
}

// TestProgressRoundTrip: what is persisted is found by the same change and source only.
func TestProgressRoundTrip(t *testing.T) {
	target, from := Target{Keyspace: "k", Range: token.Of([]byte("p")).Range(), Change: 7}, ring.NodeID{1}
	p := Progress{Target: target, From: from, Pages: 300, Rows: 1 << 40, Bytes: 1 << 50, Done: true}
	for _, after := range [][]byte{nil, rowsShape.AppendHeadKey(nil, token.Of([]byte("p")), []byte("p"))} {
		p.after = after
		if got, ok := decodeProgress(target, from, p.encode()); !ok || !reflect.DeepEqual(got, p) {
			t.Errorf("%+v came back as %+v, %v", p, got, ok)
		}
		for n := range p.encode() {
			if _, ok := decodeProgress(target, from, p.encode()[:n]); ok {
				t.Errorf("%d bytes are read", n)
			}
		}
	}
	if _, ok := decodeProgress(target, ring.NodeID{2}, p.encode()); ok {
		t.Error("the progress with another source is taken")
	}
	for _, other := range []Target{{"k", target.Range, 8}, {"k", target.Range + 1, 7}} {
		if _, ok := decodeProgress(other, from, p.encode()); ok {
			t.Errorf("the progress is taken for %+v", other)
		}
	}
}

// FuzzDecode: no bytes crash a decoder, and what is read has bytes of its own that
// read alike.
func FuzzDecode(f *testing.F) {
	q := Request{Version: 3, After: []byte("key"), MaxBytes: 1 << 20}
	a := Answer{Next: []byte("key"), Entries: []byte("entries")}
	f.Add(q.Encode())
	f.Add(a.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeRequest(b); err == nil {
			if again, err := DecodeRequest(m.Encode()); err != nil || !reflect.DeepEqual(m, again) {
				t.Errorf("%+v was read, then %+v: %v", m, again, err)
			}
		} else if !errors.Is(err, ErrMessage) {
			t.Error(err)
		}
		if m, err := DecodeAnswer(b); err == nil {
			if again, err := DecodeAnswer(m.Encode()); err != nil || !reflect.DeepEqual(m, again) {
				t.Errorf("%+v was read, then %+v: %v", m, again, err)
			}
		} else if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrDamaged) {
			t.Error(err)
		}
		decodeProgress(Target{}, ring.NodeID{}, b)
	})
}

// TestConfig: the defaults are valid, and what makes no sense is refused.
func TestConfig(t *testing.T) {
	if err := DefaultConfig().Validate(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config){
		"PageBytes": func(c *Config) { c.PageBytes = bytesMax + 1 }, "PageRows": func(c *Config) { c.PageRows = 0 },
		"Serving": func(c *Config) { c.Serving = 0 }, "Filling": func(c *Config) { c.Filling = 0 },
		"BytesPerSecond": func(c *Config) { c.BytesPerSecond = 0 }, "PersistPages": func(c *Config) { c.PersistPages = 0 },
		"Tries": func(c *Config) { c.Tries = 0 }, "PauseMax": func(c *Config) { c.PauseMax = 0 }, "CallTimeout": func(c *Config) { c.CallTimeout = 0 },
	} {
		c := DefaultConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s is not checked", name)
		}
	}
}
