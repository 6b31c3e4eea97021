package membership

import (
	"bytes"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"
)

var testCluster = uuid.MustParse("6f1c6a1e-0f0f-4a6b-9d43-2f1c9f0b7a11")

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fact{Version: rapid.Uint64().Draw(t, "version"), Generation: rapid.Uint64().Draw(t, "generation")}
		f.Internode = rapid.StringN(0, -1, 255).Draw(t, "internode")
		copy(f.Hash[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "hash"))
		meta := appendMeta(nil, testCluster, f)
		meta = append(meta, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "later fields")...)
		got, err := parseMeta(meta, testCluster)
		if err != nil || got != f {
			t.Fatalf("got %+v, %v; want %+v", got, err, f)
		}
		if _, err := parseMeta(meta, uuid.Nil); !errors.Is(err, errForeign) {
			t.Fatalf("another cluster: %v", err)
		}
		if _, err := parseMeta(meta[:metaSize-1], testCluster); err == nil {
			t.Fatal("a short meta was accepted")
		}
		earlier, err := parseMeta(meta[:metaSize], testCluster)
		if f.Internode = ""; err != nil || earlier != f {
			t.Fatalf("of an earlier version: %+v, %v", earlier, err)
		}
	})
}

func TestFactOrder(t *testing.T) {
	ordered := []Fact{{}, {Version: 1}, {Version: 2}, {Generation: 1}, {Generation: 1, Version: 9}, {Generation: 2, Version: 3}}
	for i, f := range ordered {
		for j, g := range ordered {
			if f.Newer(g) != (i > j) {
				t.Errorf("%+v newer than %+v: %v", f, g, f.Newer(g))
			}
		}
	}
}

// TestSchedule follows one unreachable peer for an hour.
func TestSchedule(t *testing.T) {
	id := uuid.New()
	s := newSchedule(uuid.New(), time.Second, 10*time.Second)
	now := time.Unix(0, 0)
	end := now.Add(time.Hour)
	alive := false
	isAlive := func(uuid.UUID) bool { return alive }
	peers := []Peer{{ID: id}}
	attempts, last := 0, now
	for now.Before(end) {
		if len(s.due(now, peers, isAlive, 8)) > 0 {
			if gap := now.Sub(last); attempts > 0 && (gap < 500*time.Millisecond || gap > 15*time.Second) {
				t.Fatalf("attempt %d came %s after the one before", attempts, gap)
			}
			attempts, last = attempts+1, now
		}
		now = now.Add(s.wait(now))
	}
	if attempts < 300 || attempts > 500 {
		t.Errorf("%d attempts in an hour, want about 360", attempts)
	}
	alive = true
	s.due(now, peers, isAlive, 8)
	alive = false
	if len(s.due(now, peers, isAlive, 8)) != 1 || s.attempts[id].pause != 2*time.Second {
		t.Error("a peer lost again is not tried at once, with short pauses")
	}
	if got := s.due(now.Add(time.Hour), nil, isAlive, 8); len(got) != 0 || len(s.attempts) != 0 {
		t.Error("a peer that is none any more is remembered")
	}
}

func TestScheduleIsBoundedAndFair(t *testing.T) {
	s := newSchedule(uuid.New(), time.Second, time.Minute)
	var peers []Peer
	for range 50 {
		peers = append(peers, Peer{ID: uuid.New()})
	}
	tried := map[uuid.UUID]bool{}
	for i := range 8 {
		due := s.due(time.Unix(0, int64(i)), peers, func(uuid.UUID) bool { return false }, 8)
		if len(due) > 8 {
			t.Fatalf("%d peers at once", len(due))
		}
		for _, p := range due {
			tried[p.ID] = true
		}
	}
	if len(tried) != 50 {
		t.Errorf("%d of 50 peers tried", len(tried))
	}
}

func newTestLog(level slog.Level) (*limitedLog, *bytes.Buffer) {
	m, _ := newMetrics(prometheus.NewRegistry())
	var out bytes.Buffer
	return newLimitedLog(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level})), m), &out
}

func TestLogIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, out := newTestLog(slog.LevelInfo)
		go l.run(t.Context())
		for range 60 {
			for range 100 {
				_, _ = l.Write([]byte("[ERR] memberlist: \xff the sky falls"))
				_, _ = l.Write([]byte("[DEBUG] memberlist: chatter"))
			}
			time.Sleep(time.Second)
		}
		synctest.Wait()
		lines := strings.Count(out.String(), "the sky falls")
		if lines < logBurst || lines > logBurst+61 {
			t.Errorf("%d lines of 6,000 in a minute; want a burst of %d and one a second", lines, logBurst)
		}
		if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "suppressed=99") {
			t.Errorf("lines lack level or count: %.300s", out.String())
		}
		if strings.Contains(out.String(), "chatter") {
			t.Error("debug lines pass at level info")
		}
	})
}

func TestLogNeverBlocks(t *testing.T) {
	l, _ := newTestLog(slog.LevelDebug)
	for range 10 * logQueue { // nobody runs it
		l.warn("x")
	}
}

func TestParseLine(t *testing.T) {
	for in, want := range map[string]struct {
		level slog.Level
		text  string
	}{
		"[DEBUG] memberlist: Stream connection from=1": {slog.LevelDebug, "Stream connection from=1"},
		"[INFO] memberlist: Marking x as failed":       {slog.LevelInfo, "Marking x as failed"},
		"[WARN] memberlist: odd":                       {slog.LevelWarn, "odd"},
		"[ERR] memberlist: bad\n":                      {slog.LevelWarn, "bad"},
		"Err: Could not set the deadline":              {slog.LevelWarn, "Err: Could not set the deadline"},
		"[unfinished":                                  {slog.LevelWarn, "[unfinished"},
		"":                                             {slog.LevelWarn, ""},
	} {
		if level, text := parseLine([]byte(in)); level != want.level || text != want.text {
			t.Errorf("%q: %v %q", in, level, text)
		}
	}
}

func newTestAuthenticator(t testing.TB) *authenticator {
	a, err := newAuthenticator(bytes.Repeat([]byte{7}, 32), string(testCluster[:]))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// FuzzAuthenticator: nothing that was not sealed with the key passes, nothing
// panics, and no more is allocated than arrived.
func FuzzAuthenticator(f *testing.F) {
	label := append([]byte{labelMark, 16}, testCluster[:]...)
	f.Add([]byte{})
	f.Add(label)
	f.Add(append(bytes.Clone(label), encryptedMark, 0, 0, 0, 200, 1))
	f.Add(append(bytes.Clone(label), bytes.Repeat([]byte{1}, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := newTestAuthenticator(t)
		if _, r := a.checkPacket(b, nil); r == nil {
			t.Errorf("packet %x passed", b)
		}
		if _, r := a.readStream(bytes.NewReader(b)); r == nil {
			t.Errorf("stream %x passed", b)
		}
	})
}

// TestAuthenticatorAllocatesWhatArrives announces the most that is accepted and
// sends nothing of it.
func TestAuthenticatorAllocatesWhatArrives(t *testing.T) {
	a := newTestAuthenticator(t)
	head := append([]byte{labelMark, 16}, testCluster[:]...)
	head = append(head, encryptedMark, 0, 0x10, 0, 0)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const runs = 100
	for range runs {
		if _, r := a.readStream(bytes.NewReader(head)); r == nil || r.reason != reasonIncomplete {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / runs; got > 16<<10 {
		t.Errorf("a header that announces 1 MiB made us allocate %d bytes", got)
	}
}
