package record

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/dunlindb/dunlin/token"
)

func genLeaf(t *rapid.T, label string) Leaf {
	l := Leaf{
		Range: token.RangeID(rapid.SampledFrom([]int{0, 1, 511, 512, token.Ranges - 1}).Draw(t, label+"range")),
		Table: rapid.SampledFrom([]uint32{1, 2, 255, 1<<32 - 2}).Draw(t, label+"table"),
		Space: rapid.SampledFrom([]Space{SpaceHeads, SpaceRows, SpaceWindows}).Draw(t, label+"space"),
	}
	if l.Space == SpaceWindows {
		l.Window = rapid.SampledFrom([]uint32{0, 1, 1 << 31, 1<<32 - 1}).Draw(t, label+"window")
	}
	return l
}

// keyIn makes a key in a space of a table with any token.
func keyIn(l Leaf, t token.Token, partition, suffix []byte) []byte {
	s := Shape{Table: l.Table}
	switch l.Space {
	case SpaceHeads:
		return s.AppendHeadKey(nil, t, partition)
	case SpaceWindows:
		s.Window = 1
	}
	return append(s.AppendPartitionPrefix(nil, l.Window, t, partition), suffix...)
}

// TestLeafBounds: a key lies between the bounds of a leaf if and only if it is of
// that leaf.
func TestLeafBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genLeaf(t, "a"), genLeaf(t, "b")
		ends := []token.Token{b.Range.First(), b.Range.First() + 1, b.Range.Last() - 1, b.Range.Last()}
		partition := rapid.SampledFrom([][]byte{{}, {0}, {0xff}, bytes.Repeat([]byte{0xff}, PartitionMax)}).Draw(t, "partition")
		key := keyIn(b, rapid.SampledFrom(ends).Draw(t, "token"), partition, bytes.Repeat([]byte{0xff}, 20))
		got, ok := LeafOf(key)
		if !ok || got != b {
			t.Fatalf("the leaf of a key of %+v is %+v", b, got)
		}
		lower, upper := a.Bounds()
		if inside := bytes.Compare(lower, key) <= 0 && bytes.Compare(key, upper) < 0; inside != (a == b) {
			t.Errorf("a key of %+v inside %+v: %v", b, a, inside)
		}
	})
}

func TestLeafEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genLeaf(t, "a"), genLeaf(t, "b")
		again, err := ParseLeaf(a.Append(nil))
		if err != nil || again != a {
			t.Fatalf("%+v came back as %+v: %v", a, again, err)
		}
		if got, want := a.Compare(b), bytes.Compare(a.Append(nil), b.Append(nil)); got != want {
			t.Errorf("%+v against %+v: %d, the encodings %d", a, b, got, want)
		}
	})
	for _, bad := range [][]byte{nil, make([]byte, LeafSize-1), {4, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1}} {
		if l, err := ParseLeaf(bad); err == nil {
			t.Errorf("%x is read as %+v", bad, l)
		}
	}
}

// TestCanonIsIndependentOfTheOrder: fragments of a row and of its head that were
// merged in two orders, by parts or at once, digest alike; so does a row of which
// what the head hides was dropped.
func TestCanonIsIndependentOfTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var rows, heads [][]byte
		for i := range rapid.IntRange(1, 4).Draw(t, "fragments") {
			r := genRow(t, string(rune('a'+i)))
			rows = append(rows, r.Append(nil))
			h := genHead(t, string(rune('A'+i)))
			heads = append(heads, h.Append(nil))
		}
		shuffled, shuffledHeads := rapid.Permutation(rows).Draw(t, "rows"), rapid.Permutation(heads).Draw(t, "heads")
		once, half := mergeAll(SpaceRows, rows...), mergeAll(SpaceRows, shuffled[0], mergeAll(SpaceRows, shuffled...))
		head, halfHead := mergeAll(SpaceHeads, heads...), mergeAll(SpaceHeads, append(shuffledHeads, heads[0])...)
		purge := rapid.SampledFrom([]int64{0, 100, 101, 102, 200}).Draw(t, "purge")
		suffix := rapid.SampledFrom([][]byte{{}, {0x40, 1}, {0x40, 2}, []byte("b")}).Draw(t, "suffix")
		var dropped Row
		var h Head
		if DecodeRow(once, &dropped) != nil || DecodeHead(head, &h) != nil {
			t.Fatal("a merge cannot be read")
		}
		dropped.hide(h.ShadowAt(suffix))
		want, wantOK, wantOldest := canonOf(t, purge, head, suffix, once)
		for _, fragment := range [][]byte{half, dropped.Append(nil)} {
			got, ok, oldest := canonOf(t, purge, halfHead, suffix, fragment)
			if got != want || ok != wantOK || oldest != wantOldest {
				t.Errorf("digests %x %v and %x %v, oldest %d and %d", want, wantOK, got, ok, wantOldest, oldest)
			}
		}
		a, b := Canon{Purge: purge, Oldest: Never}, Canon{Purge: purge, Oldest: Never}
		first, ok1, err1 := a.Head([]byte("k"), head)
		second, ok2, err2 := b.Head([]byte("k"), halfHead)
		if first != second || ok1 != ok2 || err1 != nil || err2 != nil || a.Oldest != b.Oldest {
			t.Errorf("heads: %x %v %v and %x %v %v", first, ok1, err1, second, ok2, err2)
		}
	})
}

func canonOf(t *rapid.T, purge int64, head, suffix, fragment []byte) (Digest, bool, int64) {
	c := Canon{Purge: purge, Oldest: Never}
	if err := c.SetHead(head); err != nil {
		t.Fatal(err)
	}
	sum, ok, err := c.Row([]byte("key"), suffix, fragment)
	if err != nil {
		t.Fatal(err)
	}
	return sum, ok, c.Oldest
}

// TestCanonPurges: what was deleted or has expired up to the purge point makes no
// difference, and one second before it does.
func TestCanonPurges(t *testing.T) {
	tombstone := Row{Cells: []Cell{{Column: 1, Timestamp: 5, Tombstone: true, Expiry: 100}}}
	expiring := Row{Cells: []Cell{{Column: 1, Timestamp: 5, TTL: 7, Expiry: 100, Value: []byte("v")}}}
	live := Row{Liveness: Liveness{Timestamp: 5, TTL: 7, Expiry: 100}}
	deletedRow := Row{Deletion: Deletion{Timestamp: 5, Seconds: 100}}
	for _, row := range []Row{tombstone, expiring, live, deletedRow} {
		for purge, wantOK := range map[int64]bool{0: true, 99: true, 100: false, 101: false} {
			c := Canon{Purge: purge, Oldest: Never}
			if err := c.SetHead(nil); err != nil {
				t.Fatal(err)
			}
			_, ok, err := c.Row([]byte("k"), nil, row.Append(nil))
			if err != nil || ok != wantOK || (c.Oldest == 100) != wantOK {
				t.Errorf("%+v at purge point %d: %v %v, oldest %d", row, purge, ok, err, c.Oldest)
			}
		}
	}
	head := Head{Deletion: Deletion{Timestamp: 9, Seconds: 100}}
	c := Canon{Purge: 100, Oldest: Never}
	if _, ok, err := c.Head([]byte("k"), head.Append(nil)); ok || err != nil {
		t.Errorf("a purgeable head counts: %v", err)
	}
	// It hides for as long as it is there: another replica may have dropped both.
	if err := c.SetHead(head.Append(nil)); err != nil {
		t.Fatal(err)
	}
	hidden := Row{Cells: []Cell{{Column: 1, Timestamp: 9, Value: []byte("v")}}}
	if _, ok, err := c.Row([]byte("k"), nil, hidden.Append(nil)); ok || err != nil {
		t.Errorf("a row that a purgeable deletion hides counts: %v", err)
	}
}
