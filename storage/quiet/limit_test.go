package quiet

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, nil))
		var limit Limit
		for range 1000 {
			limit.Log(logger, slog.LevelWarn, "again")
			time.Sleep(time.Millisecond)
		}
		if n := strings.Count(out.String(), "again"); n != 1 {
			t.Errorf("%d lines in a second", n)
		}
		time.Sleep(every)
		limit.Log(logger, slog.LevelWarn, "again")
		if !strings.Contains(out.String(), "skipped_lines=999") {
			t.Errorf("%q does not count what was skipped", out.String())
		}
	})
}
