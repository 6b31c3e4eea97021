package damage

import (
	"bytes"
	"encoding/binary"
	"math"
	"sort"

	"github.com/cockroachdb/pebble/v2"
)

// Span is keys from Lower (inclusive) to Upper (exclusive).
type Span struct{ Lower, Upper []byte }

// Iterator is what spans are found with. It has no bounds.
type Iterator interface {
	// Seek moves to the first key at or after one, or to the last before it.
	Seek(key []byte, back bool) bool
	// Step moves on in the direction of the last Seek.
	Step() bool
	// At is the key at hand, valid until the iterator moves, and why there is none.
	At() (key []byte, err error)
	// Reopen makes the iterator anew: one of Pebble's that has met damage may go on
	// from where it failed instead of seeking.
	Reopen() error
}

// A read that fails is dear: it looks for a single flipped bit among all of the
// block. So the search fails seldom: it reads keys towards the damage, up to so
// many, and halves the rest of the way only if that does not reach it.
const (
	walkMax   = 50_000
	halvesMax = 64
)

// end is above all keys, which begin with the id of a table.
var end = []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// prober asks where a store can be read.
type prober struct {
	it  Iterator
	err error // other than damage
}

// failed reports whether the last move met damage, or anything worse.
func (p *prober) failed() bool {
	_, err := p.it.At()
	if err == nil {
		return false
	}
	if !pebble.IsCorruptionError(err) {
		p.err = err
	} else if err := p.it.Reopen(); err != nil {
		p.err = err
	}
	return true
}

// readable reports whether the keys next to a key can be read on both sides.
func (p *prober) readable(key []byte) bool {
	if len(key) == 0 || bytes.Equal(key, end) {
		return true // there is nothing beyond
	}
	for _, back := range []bool{false, true} {
		if p.it.Seek(key, back); p.failed() {
			return false
		}
	}
	return true
}

// Around finds the span that cannot be read around a position: the key after the
// last one that could, or one at which a seek failed. found is false if all is
// readable there.
func Around(it Iterator, at []byte) (s Span, found bool, err error) {
	p := &prober{it: it}
	if p.readable(at) || p.err != nil {
		return s, false, p.err
	}
	s.Lower = p.search(at, func(prefix []byte) []byte { return prefix }, []byte{}, p.up)
	s.Upper = p.search(at, after, end, p.down)
	return s, p.err == nil, p.err
}

// search finds a readable key near a bad one: of those that bound the keys with the
// longest possible prefix of it, and then as walk goes towards the damage from there.
func (p *prober) search(bad []byte, bound func([]byte) []byte, last []byte, walk func(from, to []byte) (key []byte, reached bool)) []byte {
	good := last
	n := sort.Search(len(bad), func(cut int) bool {
		key := bound(bad[:len(bad)-1-cut])
		return p.err != nil || len(key) == 0 || p.readable(key)
	})
	if n < len(bad) {
		if key := bound(bad[:len(bad)-1-n]); len(key) > 0 {
			good = key
		}
		if key := bound(bad[:len(bad)-n]); n > 0 && len(key) > 0 {
			bad = key
		}
	}
	for range halvesMax {
		key, reached := walk(good, bad)
		if key != nil && p.readable(key) {
			good = key
		}
		mid := between(good, bad)
		if reached || mid == nil || p.err != nil {
			break
		}
		if p.readable(mid) {
			good = mid
		} else {
			bad = mid
		}
	}
	return bytes.Clone(good)
}

// up reads from a readable key up to damage, and returns the last key that it could
// read, with which everything before it can be read.
func (p *prober) up(from, to []byte) (last []byte, reached bool) {
	return p.walk(from, to, false)
}

// down reads from a readable key down to damage, and returns the key right after
// the last one that it could read.
func (p *prober) down(from, to []byte) (next []byte, reached bool) {
	last, reached := p.walk(from, to, true)
	if last == nil {
		return nil, reached
	}
	return append(last, 0), reached
}

func (p *prober) walk(from, to []byte, back bool) (last []byte, reached bool) {
	n := 0
	for ok := p.it.Seek(from, back); ok && n < walkMax; ok = p.it.Step() {
		key, _ := p.it.At()
		if order := bytes.Compare(key, to); order > 0 != back && order != 0 {
			break
		}
		last = append(last[:0], key...)
		n++
	}
	p.failed()
	return last, n < walkMax
}

// after is the first key that does not begin with a prefix; nil if there is none.
func after(prefix []byte) []byte {
	next := bytes.Clone(prefix)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			return next[:i+1]
		}
	}
	return nil
}

// between returns a key strictly between two, about in the middle of the eight
// bytes beyond what the two have in common; nil if there is none, or none near.
func between(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	n := 0
	for n < len(a) && a[n] == b[n] {
		n++
	}
	x, y := number(a[n:]), number(b[n:])
	mid := binary.BigEndian.AppendUint64(bytes.Clone(a[:n]), x+(y-x)/2)
	switch {
	case y-x >= 2:
	case len(b) > n+8: // adjacent so far, but b goes on
		mid = bytes.Clone(b[:n+8])
	default: // adjacent, but there is room after a
		rest := number(a[min(len(a), n+8):])
		mid = binary.BigEndian.AppendUint64(mid, rest+(math.MaxUint64-rest)/2)
	}
	if short := bytes.TrimRight(mid, "\x00"); bytes.Compare(short, a) > 0 {
		mid = short
	}
	if bytes.Compare(mid, a) <= 0 || bytes.Compare(mid, b) >= 0 {
		return nil
	}
	return mid
}

// number is the first eight bytes, as if zeros followed.
func number(b []byte) uint64 {
	var eight [8]byte
	copy(eight[:], b)
	return binary.BigEndian.Uint64(eight[:])
}
