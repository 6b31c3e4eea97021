package disk

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func write(t *testing.T, fs vfs.FS, name, text string, sync bool) vfs.File {
	t.Helper()
	f, err := fs.Create(name, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		dir, err := fs.OpenDir(filepath.Dir(name))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func read(fs vfs.FS, name string) string {
	f, err := fs.Open(name)
	if err != nil {
		return "absent"
	}
	defer f.Close()
	b, _ := io.ReadAll(f)
	return string(b)
}

func TestCrashLosesWhatWasNotSynced(t *testing.T) {
	d := New(1)
	fs := d.FS()
	write(t, fs, "/synced", "a", true)
	zombie := write(t, fs, "/appended", "b", true)
	_, _ = zombie.Write([]byte("lost"))
	write(t, fs, "/unsynced", "c", false)

	d.Crash(0)
	if _, err := zombie.Write([]byte("zombie")); err != nil {
		t.Errorf("the zombie's write: %v", err)
	}
	_ = zombie.Sync()
	after := d.FS()
	for name, want := range map[string]string{"/synced": "a", "/appended": "b", "/unsynced": "absent"} {
		if got := read(after, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}

	write(t, after, "/unsynced", "d", false)
	d.Crash(100)
	if got := read(d.FS(), "/unsynced"); got != "d" {
		t.Errorf("with all kept: %q", got)
	}
}

func TestCopyAndRestore(t *testing.T) {
	d := New(1)
	write(t, d.FS(), "/f", "old", true)
	image := d.Copy()
	write(t, d.FS(), "/f", "new", true)
	if got := read(d.FS(), "/f"); got != "new" {
		t.Fatalf("the copy is not a copy: %q", got)
	}
	d.Restore(image)
	if got := read(d.FS(), "/f"); got != "old" {
		t.Errorf("restored: %q", got)
	}
}

// TestRecycledFilesAreInjected is the gap that errorfs has.
func TestRecycledFilesAreInjected(t *testing.T) {
	d := New(1)
	fs := d.FS()
	write(t, fs, "/old", "12345678", true)
	f, err := fs.ReuseForWrite("/old", "/new", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	if got := read(fs, "/new"); got != "abc45678" || read(fs, "/old") != "absent" {
		t.Errorf("reused: %q; old: %q", got, read(fs, "/old"))
	}
	d.Inject(func(op Op) error {
		if op.Kind == errorfs.OpFileWrite && op.Path == "/new" {
			return errorfs.ErrInjected
		}
		return nil
	})
	if _, err := f.Write([]byte("x")); err == nil {
		t.Error("a write to a recycled file escapes injection")
	}
	d.Crash(0)
	if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("injection outlived the boot: %v", err)
	}
}

// TestPebbleSurvivesCrashes writes synced and unsynced keys, crashes, and finds
// all the synced ones.
func TestPebbleSurvivesCrashes(t *testing.T) {
	d := New(7)
	open := func() *pebble.DB {
		db, err := pebble.Open("/db", &pebble.Options{FS: d.FS(), MemTableSize: 32 << 10, Logger: quiet{}})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	value := []byte(strings.Repeat("v", 200))
	lost := 0
	for boot := range 10 {
		db := open()
		for i := range 300 {
			options := pebble.Sync
			if i >= 250 {
				options = pebble.NoSync // and nothing is synced after these
			}
			if err := db.Set([]byte{byte(boot), byte(i >> 8), byte(i)}, value, options); err != nil {
				t.Fatal(err)
			}
		}
		d.Crash(30)
		_ = db.Close()
		again := open()
		for i := range 300 {
			_, closer, err := again.Get([]byte{byte(boot), byte(i >> 8), byte(i)})
			if err == nil {
				_ = closer.Close()
				continue
			}
			if i < 250 {
				t.Fatalf("boot %d: synced key %d: %v", boot, i, err)
			}
			lost++
		}
		_ = again.Close()
	}
	if lost == 0 {
		t.Error("no unsynced write was ever lost: the disk does not crash")
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)         {}
func (quiet) Errorf(string, ...any)        {}
func (quiet) Fatalf(f string, args ...any) { panic(f) }

// TestFailingDisk: tables fail at random; the first log that does is the end, and
// what is written from then on is on no disk.
func TestFailingDisk(t *testing.T) {
	d := New(3)
	fs := d.FS()
	ends := 0
	d.Fail(func() { ends++ })
	failed := 0
	for range 1000 {
		f, err := fs.Create("/1.sst", "")
		if err == nil {
			err = f.Close()
		}
		if err != nil && !errors.Is(err, ErrDevice) {
			t.Fatal(err)
		}
		if err != nil {
			failed++
		}
	}
	if failed == 0 || failed > 100 || ends > 0 {
		t.Errorf("%d of 1000 tables failed, %d ends", failed, ends)
	}
	last := 0
	for i := range 10_000 {
		write(t, fs, "/log", string(rune('a'+i%26)), true)
		if ends > 0 {
			last = i
			break
		}
	}
	if ends != 1 || !d.Failing() {
		t.Fatalf("%d ends, failing %v", ends, d.Failing())
	}
	if got := read(d.FS(), "/log"); got == string(rune('a'+last%26)) {
		t.Errorf("what was being written when the disk failed is there: %s", got)
	}
	if d.Recover(); d.Failing() {
		t.Error("still failing")
	}
}

// TestRot flips one bit in the files that have a text.
func TestRot(t *testing.T) {
	d := New(4)
	write(t, d.FS(), "/1.sst", "what was written", true)
	write(t, d.FS(), "/2.sst", "something else", true)
	if n, err := d.Rot("/", []byte("was")); n != 1 || err != nil {
		t.Fatalf("%d files, %v", n, err)
	}
	if one, two := read(d.FS(), "/1.sst"), read(d.FS(), "/2.sst"); one != "what sas written" || two != "something else" {
		t.Errorf("%q %q", one, two)
	}
}
