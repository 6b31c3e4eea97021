package event

import (
	"errors"
	"strconv"
	"time"
)

var errTime = errors.New("is no time: give RFC 3339 such as 2026-01-02T03:04:05.678Z, or Unix milliseconds")

// ParseTime reads a time: RFC 3339, or Unix milliseconds. It is cut to 100 ns,
// which is what ids hold, and must be one that events may have.
func ParseTime(s string) (time.Time, error) {
	var t time.Time
	var err error
	if len(s) > 4 && s[4] == '-' { // a year and its dash: no number, and no cost of failing to read one
		t, err = time.Parse(time.RFC3339Nano, s)
		if err == nil && (s[13] != ':' || s[19] == ',') { // time.Parse takes 3:04 and 05,5 too; RFC 3339 does not
			err = errTime
		}
	} else {
		var ms int64
		ms, err = strconv.ParseInt(s, 10, 64)
		if ms < 0 || ms >= MaxTime.UnixMilli() {
			return time.Time{}, CheckTime(MaxTime)
		}
		t = time.UnixMilli(ms)
	}
	if err != nil {
		return time.Time{}, errTime
	}
	return t.UTC().Truncate(100 * time.Nanosecond), CheckTime(t)
}

// AppendTime appends a time as RFC 3339 in UTC, with as few digits as it needs.
func AppendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, time.RFC3339Nano)
}
