package record

import (
	"errors"
	"fmt"
	"time"
)

// windowOffset makes window numbers unsigned: window = floor(unix / width) + 2^31.
const windowOffset = 1 << 31

// The times that a windowed table may hold.
var (
	errWindowTime = errors.New("record: the time of a windowed row must lie from 1970 to 2200")
	errNoWindow   = errors.New("record: the table has no windows")
)

const (
	secondsMax = 7258118400 // 2200-01-01, in Unix seconds
	ticksMax   = secondsMax * 10_000_000
)

// WindowAt returns the window that holds a time.
func (s *Shape) WindowAt(t time.Time) (uint32, error) {
	if s.Window <= 0 {
		return 0, errNoWindow
	}
	seconds := t.Unix()
	if seconds < 0 || seconds >= secondsMax {
		return 0, errWindowTime
	}
	return uint32(seconds/int64(s.Window/time.Second) + windowOffset), nil
}

// WindowStart returns the first moment of a window.
func (s *Shape) WindowStart(window uint32) time.Time {
	return time.Unix((int64(window)-windowOffset)*int64(s.Window/time.Second), 0).UTC()
}

// WindowEnd returns the first moment after a window.
func (s *Shape) WindowEnd(window uint32) time.Time {
	return s.WindowStart(window).Add(s.Window)
}

// WindowOf returns the window of a row from its encoded clustering columns: a
// pure function of the first, so that last-write-wins is untouched.
func (s *Shape) WindowOf(suffix []byte) (uint32, error) {
	if s.Window <= 0 {
		return 0, errNoWindow
	}
	t, err := s.suffixTime(suffix)
	if err != nil {
		return 0, err
	}
	return s.WindowAt(t)
}

// WindowBounds returns the windows that rows from start (inclusive) to end
// (exclusive; nil is open) can lie in, for suffix bounds that may be prefixes:
// bounds that hold no whole first column are taken as open.
func (s *Shape) WindowBounds(start, end []byte) (first, last uint32) {
	first, last = 0, 1<<32-1
	desc := len(s.Clustering) > 0 && s.Clustering[0].Desc
	if w, err := s.WindowOf(start); err == nil {
		if desc {
			last = w
		} else {
			first = w
		}
	}
	if w, err := s.WindowOf(end); err == nil {
		if desc {
			first = w
		} else {
			last = w
		}
	}
	return first, last
}

// suffixTime reads the time of the first clustering column.
func (s *Shape) suffixTime(suffix []byte) (time.Time, error) {
	if len(s.Clustering) == 0 {
		return time.Time{}, errNoWindow
	}
	c := s.Clustering[0]
	if c.Kind != TimeUUID && c.Kind != Timestamp {
		return time.Time{}, errNoWindow
	}
	if len(suffix) == 0 || suffix[0] != separator {
		return time.Time{}, fmt.Errorf("record: window: %w", ErrCorrupt)
	}
	var buffer [16]byte
	value := buffer[:kinds[c.Kind].size]
	if _, err := takeFixed(value, suffix[1:], c); err != nil {
		return time.Time{}, fmt.Errorf("record: window: %w", err)
	}
	if c.Kind == Timestamp {
		return timestampTime(value), nil
	}
	ticks := uuidTicks(value)
	if ticks < 0 || ticks >= ticksMax {
		return time.Time{}, errWindowTime
	}
	return time.Unix(ticks/1e7, ticks%1e7*100), nil
}
