package storage

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func hintPairs(from, to int) []HintPair {
	var pairs []HintPair
	for i := from; i < to; i++ {
		pairs = append(pairs, HintPair{Key: fmt.Appendf(nil, "a%05d", i), Value: fmt.Appendf(nil, "value %d", i)})
	}
	return pairs
}

// scanHints lists keys, at most limit of them.
func scanHints(t *testing.T, h *Hints, from, to string, limit int) string {
	t.Helper()
	var keys []string
	err := h.Scan([]byte(from), []byte(to), func(key, value []byte) bool {
		var n int
		if _, err := fmt.Sscanf(string(key), "a%d", &n); err != nil || string(value) != fmt.Sprintf("value %d", n) {
			t.Errorf("%q has %q", key, value)
		}
		keys = append(keys, strings.TrimLeft(string(key[1:]), "0"))
		return len(keys) < limit
	})
	if err != nil {
		t.Error(err)
	}
	return strings.Join(keys, " ")
}

// TestHintsInOrder: what is written is scanned in order, from and up to where one
// asks, and a deleted range is gone and comes back by being written again.
func TestHintsInOrder(t *testing.T) {
	h := openTest(t).Hints()
	if err := errors.Join(h.Write(hintPairs(1, 10), false), h.Write(nil, true)); err != nil {
		t.Fatal(err)
	}
	if got := scanHints(t, h, "a00003", "a00008", 4); got != "3 4 5 6" {
		t.Errorf("scanned %s", got)
	}
	if err := h.Delete([]byte("a00002"), []byte("a00005")); err != nil {
		t.Fatal(err)
	}
	if got := scanHints(t, h, "a", "b", 100); got != "1 5 6 7 8 9" {
		t.Errorf("after a deletion: %s", got)
	}
	if err := h.Write(hintPairs(3, 4), true); err != nil {
		t.Fatal(err)
	}
	if got := scanHints(t, h, "a", "b", 100); got != "1 3 5 6 7 8 9" {
		t.Errorf("written again: %s", got)
	}
}

// TestHintsAndCrashes: what was synced survives, by its own write or by Sync, and
// what was not is gone here.
func TestHintsAndCrashes(t *testing.T) {
	fs := vfs.NewCrashableMem()
	e := mustOpen(t, testConfig(), fs)
	h := e.Hints()
	if err := errors.Join(h.Write(hintPairs(1, 3), false), h.Sync(), h.Write(hintPairs(3, 4), false), h.Write(hintPairs(4, 5), true)); err != nil {
		t.Fatal(err)
	}
	if err := h.Write(hintPairs(5, 6), false); err != nil {
		t.Fatal(err)
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"write": h.Write(hintPairs(1, 2), false), "sync": h.Sync(), "delete": h.Delete([]byte("a"), []byte("b")),
		"scan": h.Scan([]byte("a"), []byte("b"), func([]byte, []byte) bool { return true }),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if _, err := h.Size([]byte("a"), []byte("b")); !errors.Is(err, ErrClosed) {
		t.Errorf("size after Close: %v", err)
	}
	e = mustOpen(t, testConfig(), clone)
	defer e.Close()
	if got := scanHints(t, e.Hints(), "a", "b", 100); got != "1 2 3 4" {
		t.Errorf("after the crash: %s", got)
	}
}

// TestHintsOnAFullDisk: below the reserve nothing is written, but deleting goes on.
func TestHintsOnAFullDisk(t *testing.T) {
	fs := newFaultyFS(vfs.NewMem(), nil)
	fs.free.Store(1 << 40)
	e := mustOpen(t, testConfig(), fs)
	defer e.Close()
	if err := e.Hints().Write(hintPairs(1, 4), false); err != nil {
		t.Fatal(err)
	}
	fs.free.Store(1)
	h := e.Hints() // it has not looked yet
	var full *DiskFullError
	if err := h.Write(hintPairs(4, 5), true); !errors.As(err, &full) {
		t.Errorf("on a full disk: %v", err)
	}
	if err := h.Delete([]byte("a00001"), []byte("a00003")); err != nil {
		t.Error(err)
	}
	if got := scanHints(t, h, "a", "b", 100); got != "3" {
		t.Errorf("left: %s", got)
	}
}

// TestDamagedHints are ErrCorrupt, and end nothing.
func TestDamagedHints(t *testing.T) {
	fs := vfs.NewMem()
	e := mustOpen(t, testConfig(), fs)
	h := e.Hints()
	if err := h.Write(hintPairs(1, 20_000), true); err != nil {
		t.Fatal(err)
	}
	if err := e.hints.Flush(); err != nil {
		t.Fatal(err)
	}
	if size, err := h.Size([]byte("a"), []byte("b")); err != nil || size < 1000 {
		t.Errorf("size %d, %v", size, err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("data/hints")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		f, err := fs.Open("data/hints/" + name)
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		content[len(content)/2] ^= 4
		out, err := fs.Create("data/hints/"+name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.Write(content)
		if err := errors.Join(err, out.Sync(), out.Close()); err != nil {
			t.Fatal(err)
		}
	}
	e = mustOpen(t, testConfig(), fs)
	defer e.Close()
	h = e.Hints()
	err = h.Scan([]byte("a"), []byte("b"), func([]byte, []byte) bool { return true })
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("scan of a damaged table: %v", err)
	}
	if err := h.Write(hintPairs(1, 2), true); err != nil {
		t.Error(err)
	}
}
