package text

import (
	"strings"
	"testing"
	"time"
)

func TestTexts(t *testing.T) {
	moment := time.Date(2026, 1, 2, 4, 4, 5, 9, time.FixedZone("", 3600))
	for _, c := range []struct{ got, want string }{
		{Bytes(0), "0 B"}, {Bytes(1023), "1023 B"}, {Bytes(1536), "1.5 KiB"}, {Bytes(3 << 40), "3.0 TiB"}, {Bytes(5 << 50), "5120.0 TiB"},
		{Seconds(0.4), "0s"}, {Seconds(90.2), "1m30s"},
		{Time(nil), "-"}, {Time(&moment), "2026-01-02 03:04:05Z"},
		{Short("0f125b0b-9d1e"), "0f125b0b"}, {Short("abc"), "abc"},
		{Count(1, "node", "nodes"), "1 node"}, {Count(0, "node", "nodes"), "0 nodes"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out strings.Builder
	if err := Table(&out, []string{"A", "LONGER"}, [][]string{{"value", "1"}, {"x", "2"}}); err != nil || out.String() != "A      LONGER\nvalue  1\nx      2\n" {
		t.Errorf("%q %v", out.String(), err)
	}
}
