package storage

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const holdVariable = "DUNLIN_TEST_HOLD"

// TestHoldDirectory is no test: it is the other process of the next one.
func TestHoldDirectory(t *testing.T) {
	dir := os.Getenv(holdVariable)
	if dir == "" {
		return
	}
	cfg := testConfig()
	cfg.Dir = dir
	e := mustOpen(t, cfg, DefaultFS())
	defer e.Close()
	_, _ = os.Stdout.WriteString("open\n")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes it
}

func TestAnotherProcessHoldsTheDirectory(t *testing.T) {
	cfg := testConfig()
	cfg.Dir = filepath.Join(t.TempDir(), "data")
	holder := exec.Command(os.Args[0], "-test.run=^TestHoldDirectory$")
	holder.Env = append(os.Environ(), holdVariable+"="+cfg.Dir)
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "open\n" {
		t.Fatalf("the holder says %q: %v", line, err)
	}
	if _, err := Open(cfg, testEnv(DefaultFS())); !errors.Is(err, ErrInUse) || strings.Contains(err.Error(), "\n") {
		t.Errorf("while another process has it open: %v", err)
	}
	if err := errors.Join(in.Close(), holder.Wait()); err != nil {
		t.Fatal(err)
	}
	e := mustOpen(t, cfg, DefaultFS())
	defer e.Close()
	if id := e.Identity(); id.Boot != 2 {
		t.Errorf("after it ended: %+v", id)
	}
}

// TestNewerPebbleFormatIsRefused, and so is one store restored without the others.
func TestNewerPebbleFormatIsRefused(t *testing.T) {
	fs := vfs.NewMem()
	if err := mustOpen(t, testConfig(), fs).Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("data/rows")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "marker.format-version.") {
			if err := fs.Rename("data/rows/"+name, "data/rows/marker.format-version.999999.900"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var format *FormatError
	if _, err := Open(testConfig(), testEnv(fs)); !errors.As(err, &format) || format.Found != 900 || strings.Contains(err.Error(), "\n") {
		t.Errorf("a newer Pebble format: %v", err)
	}
}

func TestLoneStoreIsRefused(t *testing.T) {
	whole, lone := vfs.NewMem(), vfs.NewMem()
	e := mustOpen(t, testConfig(), whole)
	put(t, e, rowKey(t, &plainShape, []byte("p"), 1), liveRow(1))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := lone.MkdirAll("data", 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.Clone(whole, lone, "data/rows", "data/rows"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first attempt must not make it look whole
		var partial *PartialError
		if _, err := Open(testConfig(), testEnv(lone)); !errors.As(err, &partial) {
			t.Errorf("rows alone: %v", err)
		}
	}
}

// TestOptions pins what research measured and what may not change by itself.
func TestOptions(t *testing.T) {
	env := testEnv(vfs.NewMem())
	env.Simulated = false
	cfg := testConfig()
	cfg.Memory = 96 << 20
	e := newEngine(cfg, env)
	defer e.health.Close()
	cache := pebble.NewCache(e.memory.total)
	defer cache.Unref()
	o := e.rowOptions(cache, 1000)
	if o.Merger.Name != "dunlin.lww.v1" || o.FormatMajorVersion != 24 || o.FormatMajorVersion > pebble.FormatNewest {
		t.Errorf("merger %s, format %d: both are in every store, and this test is their guard", o.Merger.Name, o.FormatMajorVersion)
	}
	if o.Comparer != nil {
		t.Error("a comparer is in every store too")
	}
	if o.MemTableSize != 16<<20 || o.MemTableStopWritesThreshold != 4 || o.L0CompactionThreshold != 8 || o.L0StopWritesThreshold != 40 || o.TargetFileSizes[0] != 4<<20 {
		t.Errorf("%d %d %d %d %d", o.MemTableSize, o.MemTableStopWritesThreshold, o.L0CompactionThreshold, o.L0StopWritesThreshold, o.TargetFileSizes[0])
	}
	for i, level := range o.Levels {
		if filtered := level.FilterPolicy != pebble.NoFilterPolicy; filtered != (i < 6) || level.BlockSize != 16<<10 {
			t.Errorf("level %d: filter %v, blocks of %d", i, filtered, level.BlockSize)
		}
	}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// TestMissingTable: a store that lacks a file does not start, and says which.
func TestMissingTable(t *testing.T) {
	mem := vfs.NewMem()
	if err := fillTables(t, mem).Close(); err != nil {
		t.Fatal(err)
	}
	names, err := mem.List("data/rows")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			if err := mem.Remove("data/rows/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	var partial *PartialError
	if _, err := Open(testConfig(), testEnv(mem)); !errors.As(err, &partial) || !strings.Contains(err.Error(), ".sst") && !strings.Contains(err.Error(), "0000") {
		t.Errorf("a store without its tables: %v", err)
	}
}
