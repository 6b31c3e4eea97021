package record

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestPurgeChangesNoDigest: what a purge leaves of a row or head digests as the
// whole did, at the purge point and at every later one; it is loose no more, it is
// never longer, and it is found loose exactly if the purge leaves something else.
func TestPurgeChangesNoDigest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		head := genHead(t, "head")
		row := genRow(t, "row")
		suffix := rapid.SampledFrom([][]byte{{}, {0x40, 1}, {0x40, 2}, []byte("b")}).Draw(t, "suffix")
		purge := rapid.SampledFrom([]int64{0, 100, 101, 102, 200}).Draw(t, "purge")
		expired := rapid.SampledFrom([]int64{0, 100, 101, 200}).Draw(t, "expired")
		later := purge + rapid.SampledFrom([]int64{0, 1, 100}).Draw(t, "later")
		wholeHead, whole := head.Append(nil), row.Append(nil)
		if DecodeHead(wholeHead, &head) != nil || DecodeRow(whole, &row) != nil {
			t.Fatal("an encoding cannot be read")
		}

		c := Canon{Purge: purge, Expired: expired}
		if err := c.SetHead(wholeHead); err != nil {
			t.Fatal(err)
		}
		left, err := c.PurgeRow(nil, suffix, whole)
		loose := c.Loose
		if err != nil || loose == bytes.Equal(left, whole) && !row.IsZero() {
			t.Fatalf("purge of %+v: %+v left, loose %v: %v", row, left, loose, err)
		}
		for _, point := range []int64{purge, later} {
			a, b := digestAt(t, point, wholeHead, suffix, whole), digestAt(t, point, wholeHead, suffix, left)
			if a != b {
				t.Errorf("at %d the digest changes: %+v", point, row)
			}
		}
		if len(left) > 0 {
			again, err := c.PurgeRow(nil, suffix, left)
			if err != nil || c.Loose || !bytes.Equal(again, left) {
				t.Errorf("a second purge leaves %x of %x: %v", again, left, err)
			}
		}
		leftHead, err := c.PurgeHead(nil, wholeHead)
		if err != nil || c.Loose == bytes.Equal(leftHead, wholeHead) && !head.IsZero() {
			t.Fatalf("purge of head %+v: %x left, loose %v: %v", head, leftHead, c.Loose, err)
		}
		for _, point := range []int64{purge, later} {
			a, b := Canon{Purge: point}, Canon{Purge: point}
			first, ok1, err1 := a.Head([]byte("k"), wholeHead)
			var second Digest
			ok2, err2 := false, error(nil)
			if len(leftHead) > 0 {
				second, ok2, err2 = b.Head([]byte("k"), leftHead)
			}
			if first != second || ok1 != ok2 || err1 != nil || err2 != nil {
				t.Errorf("at %d the head's digest changes: %+v: %v %v", point, head, err1, err2)
			}
		}
	})
}

func digestAt(t *rapid.T, point int64, head, suffix, fragment []byte) Digest {
	if len(fragment) == 0 {
		return Digest{}
	}
	sum, _, _ := canonOf(t, point, head, suffix, fragment)
	return sum
}

// TestPurgeShrinksExpiredValues to eight bytes, and not before they have expired.
func TestPurgeShrinksExpiredValues(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 1000)
	row := Row{Cells: []Cell{{Column: 1, Timestamp: 5, TTL: 7, Expiry: 100, Value: value}, {Column: 2, Timestamp: 5, Value: value}}}
	whole := row.Append(nil)
	c := Canon{Expired: 99, Oldest: Never, Expires: Never}
	if err := c.SetHead(nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Row([]byte("k"), nil, whole); err != nil || c.Loose || c.Expires != 100 {
		t.Errorf("before: loose %v, expires %d: %v", c.Loose, c.Expires, err)
	}
	c.Expired, c.Expires = 100, Never
	left, err := c.PurgeRow(nil, nil, whole)
	if err != nil || !c.Loose || len(left) > len(whole)-len(value)+hashSize {
		t.Errorf("%d bytes of %d are left, loose %v: %v", len(left), len(whole), c.Loose, err)
	}
	if _, _, err := c.Row([]byte("k"), nil, left); err != nil || c.Loose || c.Expires != Never {
		t.Errorf("after: loose %v, expires %d: %v", c.Loose, c.Expires, err)
	}
	var r Row
	if err := DecodeRow(left, &r); err != nil || !r.Cells[0].Hashed || !bytes.Equal(r.Cells[1].Value, value) {
		t.Errorf("left: %+v: %v", r, err)
	}
}

// TestFrees: deletions do, whatever else is written with them does not.
func TestFrees(t *testing.T) {
	d := Deletion{Timestamp: 5, Seconds: 7}
	tombstone := Cell{Column: 1, Timestamp: 5, Tombstone: true, Expiry: 7}
	for _, c := range []struct {
		row  Row
		want bool
	}{
		{Row{Deletion: d}, true},
		{Row{Cells: []Cell{tombstone}}, true},
		{Row{}, false},
		{Row{Liveness: Liveness{Timestamp: 9}, Deletion: d}, false},
		{Row{Cells: []Cell{tombstone, {Column: 2, Timestamp: 5, Value: []byte("v")}}}, false},
	} {
		if got := Frees(SpaceRows, c.row.Append(nil)); got != c.want {
			t.Errorf("%+v: %v", c.row, got)
		}
		head := Head{Deletion: d, Static: c.row}
		if got := Frees(SpaceHeads, head.Append(nil)); got != (c.want || c.row.IsZero()) {
			t.Errorf("%+v: %v", head, got)
		}
	}
	if Frees(SpaceRows, []byte("no row")) || Frees(SpaceHeads, nil) {
		t.Error("what cannot be read frees space")
	}
}
