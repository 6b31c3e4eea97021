package storage

import "time"

const (
	diskCheckEvery = time.Second
	diskCheckBytes = 8 << 20 // written since the last check
)

// diskGuard refuses writes before the disk is full, because a log that cannot be
// written ends the node, and compactions need room to give space back. It belongs
// to one committer.
type diskGuard struct {
	fs      FS
	dir     string
	reserve uint64 // 0: no check

	checked time.Time
	written int // bytes since
	full    *DiskFullError
}

func (d *diskGuard) wrote(bytes int) { d.written += bytes }

// check returns a *DiskFullError while less than the reserve is free, and after
// that until a quarter more is. A file system that cannot tell is never full.
func (d *diskGuard) check() error {
	if d.reserve == 0 {
		return nil
	}
	now := time.Now()
	if d.checked.IsZero() || now.Sub(d.checked) >= diskCheckEvery || d.written >= diskCheckBytes {
		d.checked, d.written = now, 0
		d.measure()
	}
	if d.full != nil {
		return d.full
	}
	return nil
}

func (d *diskGuard) measure() {
	usage, err := d.fs.GetDiskUsage(d.dir)
	need := d.reserve
	if d.full != nil {
		need += need / 4
	}
	switch {
	case err != nil || usage.AvailBytes >= need:
		d.full = nil
	default:
		d.full = &DiskFullError{Dir: d.dir, Free: usage.AvailBytes, Reserve: d.reserve}
	}
}
