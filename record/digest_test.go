package record

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestPurgedValueStillCompares: a replica that has shrunk an expired value to
// its hash merges and digests as one that has not.
func TestPurgedValueStillCompares(t *testing.T) {
	full := Cell{Column: 1, Timestamp: 5, TTL: 1, Expiry: 2, Value: []byte("some value")}
	shrunk := full
	h := full.hash()
	shrunk.Value, shrunk.Hashed = h[:], true
	rows := []Row{{Cells: []Cell{full}}, {Cells: []Cell{shrunk}}}
	var digests []Digest
	for _, r := range rows {
		var d Digester
		d.Reset()
		if err := d.AddRow([]byte("k"), r.Append(nil)); err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d.Sum())
	}
	if digests[0] != digests[1] {
		t.Error("digests differ")
	}
	other := Cell{Column: 1, Timestamp: 5, TTL: 1, Expiry: 2, Value: []byte("other value")}
	if full.wins(&other) != shrunk.wins(&other) {
		t.Error("the shrunk value compares differently from the full one")
	}
}

func TestDigestTellsContentApart(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genRow(t, "a"), genRow(t, "b")
		var d Digester
		sum := func(r Row) Digest {
			d.Reset()
			if err := d.AddRow([]byte("k"), r.Append(nil)); err != nil {
				t.Fatal(err)
			}
			return d.Sum()
		}
		da, db := sum(a), sum(b)
		for _, r := range []*Row{&a, &b} {
			d.shrink(r)
			r.Cells = slices.Clone(r.Cells)
		}
		same := bytes.Equal(a.Append(nil), b.Append(nil))
		if same != (da == db) {
			t.Fatalf("same content %v, same digest %v", same, da == db)
		}
	})
}

// TestDigestIgnoresWhatIsHidden: a replica that never had, or has dropped, what
// the head deletes agrees with one that still has it.
func TestDigestIgnoresWhatIsHidden(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := genHead(t, "head")
		fragment := head.Append(nil)
		var all, visible Digester
		for _, d := range []*Digester{&all, &visible} {
			d.Reset()
			if err := d.AddHead(fragment); err != nil {
				t.Fatal(err)
			}
		}
		for i := range byte(4) {
			row, suffix := genRow(t, string('a'+rune(i))), []byte{2 * i}
			if row.IsZero() {
				continue
			}
			if err := all.AddRow(suffix, row.Append(nil)); err != nil {
				t.Fatal(err)
			}
			row.hide(head.ShadowAt(suffix))
			if row.IsZero() {
				continue
			}
			if err := visible.AddRow(suffix, row.Append(nil)); err != nil {
				t.Fatal(err)
			}
		}
		if all.Sum() != visible.Sum() {
			t.Fatalf("hidden rows count, under the head %+v", head)
		}
	})
}

func TestDigestOfNothing(t *testing.T) {
	empty, cell := Head{}, Cell{Column: 1, Timestamp: 5, Value: []byte("v")}
	hidden := Head{Static: Row{Cells: []Cell{cell}}, Deletion: Deletion{Timestamp: 9, Seconds: 1}}
	bare := Head{Deletion: hidden.Deletion}
	sum := func(head []byte) Digest {
		var d Digester
		d.Reset()
		if err := d.AddHead(head); err != nil {
			t.Fatal(err)
		}
		return d.Sum()
	}
	if sum(nil) != sum(empty.Append(nil)) {
		t.Error("no head and a head that says nothing differ")
	}
	if sum(hidden.Append(nil)) != sum(bare.Append(nil)) {
		t.Error("a static row that the partition's deletion hides counts")
	}
	if sum(nil) == sum(bare.Append(nil)) {
		t.Error("a deletion does not count")
	}
}

func TestDigestRefusesWhatItCannotRead(t *testing.T) {
	var d Digester
	d.Reset()
	poison := mergeAll(SpaceRows, []byte{9}, []byte{8})
	for _, tc := range []struct {
		fragment []byte
		want     error
	}{{poison, ErrPoison}, {[]byte{9}, ErrCorrupt}, {nil, ErrCorrupt}} {
		if err := d.AddRow(nil, tc.fragment); !errors.Is(err, tc.want) {
			t.Errorf("row %x: %v", tc.fragment, err)
		}
		if err := d.AddHead(tc.fragment); len(tc.fragment) > 0 && !errors.Is(err, tc.want) {
			t.Errorf("head %x: %v", tc.fragment, err)
		}
	}
}
