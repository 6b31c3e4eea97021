package membership

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Log lines about gossip: a burst, then a few a second.
const (
	logBurst = 20
	logEvery = time.Second
	logQueue = 64
)

// limitedLog passes log lines on at a bounded rate, from a goroutine of its
// own: memberlist logs with its locks held, and must not wait for a terminal.
type limitedLog struct {
	logger  *slog.Logger
	metrics *metrics
	lines   chan line

	mu         sync.Mutex // guards the fields below
	tokens     int
	refilled   time.Time
	suppressed int
}

type line struct {
	level slog.Level
	text  string
	args  []any
}

func newLimitedLog(logger *slog.Logger, m *metrics) *limitedLog {
	return &limitedLog{logger: logger, metrics: m, lines: make(chan line, logQueue), tokens: logBurst, refilled: time.Now()}
}

// run writes the lines until ctx ends; those left then are dropped.
func (l *limitedLog) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-l.lines:
			l.logger.Log(ctx, e.level, e.text, e.args...)
		}
	}
}

func (l *limitedLog) warn(text string, args ...any) { l.add(slog.LevelWarn, text, args) }

// add queues a line, or counts it as suppressed.
func (l *limitedLog) add(level slog.Level, text string, args []any) {
	if !l.logger.Enabled(context.Background(), level) {
		return
	}
	suppressed, ok := l.admit()
	if ok && suppressed > 0 {
		args = append(args, "suppressed", suppressed)
	}
	if ok {
		select {
		case l.lines <- line{level, text, args}:
			return
		default:
		}
	}
	l.metrics.suppressed.Inc()
	l.mu.Lock()
	l.suppressed += suppressed + 1
	l.mu.Unlock()
}

// admit takes a token, and with it the count of lines suppressed so far.
func (l *limitedLog) admit() (suppressed int, ok bool) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if periods := int(now.Sub(l.refilled) / logEvery); periods > 0 {
		l.tokens = min(logBurst, l.tokens+min(periods, logBurst))
		l.refilled = now
	}
	if l.tokens == 0 {
		return 0, false
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}

// Write takes a line of memberlist's: "[LEVEL] memberlist: text".
func (l *limitedLog) Write(p []byte) (int, error) {
	level, text := parseLine(p)
	l.add(level, text, nil)
	return len(p), nil
}

// parseLine splits a line of memberlist's. What it calls an error is a peer
// that cannot be reached or a packet that cannot be read: a warning here.
func parseLine(p []byte) (slog.Level, string) {
	level := slog.LevelWarn
	p = bytes.TrimSpace(p)
	if rest, ok := bytes.CutPrefix(p, []byte("[")); ok {
		if name, text, ok := bytes.Cut(rest, []byte("] ")); ok {
			p = text
			switch string(name) {
			case "DEBUG":
				level = slog.LevelDebug
			case "INFO":
				level = slog.LevelInfo
			}
		}
	}
	return level, strings.ToValidUTF8(string(bytes.TrimPrefix(p, []byte("memberlist: "))), "?")
}
