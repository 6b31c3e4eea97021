package storage

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// noted is an item that writes below all tables beside a row.
type noted struct {
	write
	notes [][2][]byte // a nil value deletes
}

func (n *noted) Stage(b *Batch) {
	n.write.Stage(b)
	for _, note := range n.notes {
		if note[1] == nil {
			b.Delete(note[0])
		} else {
			b.Set(note[0], note[1])
		}
	}
}

// TestCursor: a cursor and its clones show one moment, within their bounds; what
// rides in a batch below all tables is there with the rows, and a restart finds
// it. Close waits for cursors, and later ones are refused.
func TestCursor(t *testing.T) {
	fs := vfs.NewMem()
	e := mustOpen(t, testConfig(), fs)
	a, b, c := rowKey(t, &plainShape, []byte("a"), 1), rowKey(t, &plainShape, []byte("a"), 2), rowKey(t, &plainShape, []byte("a"), 3)
	note, other := []byte("\x00\x00\x00\x00note"), []byte("\x00\x00\x00\x00other")
	for _, n := range []*noted{
		{*newWrite(a, liveRow(1)), [][2][]byte{{note, []byte("1")}, {other, []byte("x")}}},
		{*newWrite(a, liveRow(2)), [][2][]byte{{note, []byte("2")}, {other, nil}}},
	} {
		if err := e.Submit(0, n); err != nil {
			t.Fatal(err)
		}
		if err := <-n.done; err != nil {
			t.Fatal(err)
		}
	}
	put(t, e, b, liveRow(1))
	first, err := e.Cursor(a, c)
	if err != nil {
		t.Fatal(err)
	}
	put(t, e, rowKey(t, &plainShape, []byte("a"), 0), liveRow(1))
	put(t, e, b, liveRow(9))
	put(t, e, c, liveRow(1))
	second, err := first.Clone(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Seek(nil) || !bytes.Equal(first.Key(), a) || !first.Next() || !bytes.Equal(first.Key(), b) || first.Next() || first.Err() != nil {
		t.Error("the cursor does not show a and b")
	}
	if !second.Seek(b) {
		t.Fatal("the clone does not show b")
	}
	if value, err := second.Value(); err != nil || !bytes.Equal(value, liveRow(1)) || second.Next() {
		t.Errorf("the clone shows %x, %v, or what came later", value, err)
	}
	if !second.Seek(note) || !bytes.Equal(second.Key(), note) {
		t.Error("the note is missing")
	}
	if value, err := second.Value(); err != nil || string(value) != "2" {
		t.Errorf("the note says %q, %v", value, err)
	}
	if !second.Next() || bytes.Equal(second.Key(), other) {
		t.Error("a deleted note is there")
	}
	closed := make(chan error, 1)
	go func() { closed <- e.Close() }()
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if _, err := e.Cursor(nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("a cursor after Close: %v", err)
	}
	e = mustOpen(t, testConfig(), fs)
	if value, ok, err := get(e.rows, note); err != nil || !ok || string(value) != "2" {
		t.Errorf("after a restart the note says %q, %v", value, err)
	}
	if got := e.Windows(0); len(got) > 0 {
		t.Errorf("notes are taken for windows: %v", got)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
