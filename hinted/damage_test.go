package hinted

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/transport"
)

// damageHints flips a bit in the middle of the hint store's tables.
func damageHints(t *testing.T, fs vfs.FS) {
	t.Helper()
	names, err := fs.List("data/hints")
	if err != nil {
		t.Fatal(err)
	}
	damaged := 0
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
		damaged++
	}
	if damaged == 0 {
		t.Fatal("no tables")
	}
}

// TestDamage: a hint that cannot be decoded costs plain hints their segment, counted
// and marked; counted ones are kept, reported, and hold Publish back; those of other
// segments and later ones come through. A start finds the damage too.
func TestDamage(t *testing.T) {
	for _, class := range []Class{Plain, Counted} {
		for _, restart := range []bool{false, true} {
			bubble(t, testConfig(), func(t *testing.T, w *world) { damageRun(t, w, class, restart) })
		}
	}
}

func damageRun(t *testing.T, w *world, class Class, restart bool) {
	const bad = 5 // in the first segment
	keep := func(n int) {
		if g := groupOf(t, now(), n); class == Plain {
			w.h.Keep(node(2), g)
		} else if v := w.hold(node(2), g); v.Code != transport.OK {
			t.Fatal(v)
		}
		time.Sleep(time.Millisecond)
	}
	w.setDead(true, 2)
	w.run()
	for i := range 100 {
		keep(i)
	}
	var key []byte
	n := 0
	if err := w.engine.Hints().Scan([]byte{byte(class)}, []byte{byte(class) + 1}, func(k, _ []byte) bool {
		key = slices.Clone(k)
		n++
		return n <= bad
	}); err != nil {
		t.Fatal(err)
	}
	if err := w.engine.Hints().Write([]storage.HintPair{{Key: key, Value: []byte{99}}}, true); err != nil {
		t.Fatal(err)
	}
	if restart {
		w.reopen()
		w.run()
	}
	w.setDead(false, 2)
	time.Sleep(time.Minute) // the damage is found
	keep(200)
	time.Sleep(time.Minute)
	got := w.delivered(node(2))
	if slices.Contains(got, bad) || !slices.Contains(got, 99) || !slices.Contains(got, 200) || !slices.IsSorted(got) {
		t.Errorf("%s: delivered %v", class, got)
	}
	s := w.h.Status()[0]
	if class == Plain {
		lost := 101 - len(got)
		if ranges, _ := w.marked(node(2)); s.Plain.Hints != 0 || len(w.losses) == 0 || (!restart && !ranges[rangeOf(bad)]) ||
			(!restart && w.value("dropped_rows_total", "reason", "corrupt") != float64(lost)) {
			t.Errorf("%+v, marked %v, %d were lost", s.Plain, w.losses, lost)
		}
		return
	}
	if s.Counted.Damaged == 0 || s.Counted.Damaged != s.Counted.Hints || w.value("dropped_rows_total") != 0 {
		t.Errorf("%+v", s.Counted)
	}
	if _, ok := w.h.OldestCounted(); !ok {
		t.Error("a damaged segment is not counted as held")
	}
	if err := w.h.Drain(t.Context()); !errors.Is(err, ErrDamaged) {
		t.Errorf("draining damaged hints: %v", err)
	}
}

// TestDamagedTables: flipped bits in the store's files keep nothing from starting, and
// plain queues end in marks. (In real time: Pebble tries to compact such a file again
// and again without a pause.)
func TestDamagedTables(t *testing.T) {
	cfg := testConfig()
	cfg.SegmentBytes, cfg.Poll = 64<<10, time.Millisecond
	fs := vfs.NewMem()
	w := openWorld(t, fs, cfg)
	w.setDead(true, 2)
	w.run()
	const n = 2000
	for i := range n {
		w.h.Keep(node(2), groupOf(t, now(), i))
		if i%100 == 0 {
			w.hold(node(3), groupOf(t, now(), i)) // so that the buffer does not grow
		}
	}
	w.close()
	damageHints(t, fs)
	w.open()
	w.setDead(false, 2)
	w.run()
	w.drain()
	w.stop()
	got := len(w.delivered(node(2)))
	if lost := w.value("dropped_rows_total", "reason", "corrupt"); got == n || len(w.losses) == 0 || lost == 0 {
		t.Errorf("%d of %d were delivered, %v lost, %d calls of OnDrop", got, n, lost, len(w.losses))
	}
	w.close()
}
