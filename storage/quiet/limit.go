package quiet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Limit lets one line in ten seconds through and counts the others.
type Limit struct {
	mu      sync.Mutex // guards the fields below
	last    time.Time
	skipped int
}

const every = 10 * time.Second

// Log writes a line, unless there was one a moment ago.
func (l *Limit) Log(logger *slog.Logger, level slog.Level, text string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if !l.last.IsZero() && now.Sub(l.last) < every {
		l.skipped++
		l.mu.Unlock()
		return
	}
	skipped := l.skipped
	l.last, l.skipped = now, 0
	l.mu.Unlock()
	if skipped > 0 {
		args = append(args, "skipped_lines", skipped)
	}
	logger.Log(context.Background(), level, text, args...)
}
