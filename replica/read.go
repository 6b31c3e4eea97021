package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Read answers a slice of one partition, or its digest. Head and rows come from
// one snapshot; tombstones are among the rows.
func (r *Replica) Read(ctx context.Context, from ring.NodeID, q *transport.ReadRequest) transport.ReadAnswer {
	start := time.Now()
	var a transport.ReadAnswer
	a.Verdict = r.read(ctx, from, q, &a)
	if q.Digest {
		r.metrics.digest.Observe(time.Since(start).Seconds())
	} else {
		r.metrics.read.Observe(time.Since(start).Seconds())
	}
	if a.Verdict.Code != transport.OK {
		r.metrics.refusedReads.WithLabelValues(a.Verdict.Code.String()).Inc()
		return transport.ReadAnswer{Verdict: a.Verdict}
	}
	r.metrics.readRows.Add(float64(a.Live))
	return a
}

func (r *Replica) read(ctx context.Context, from ring.NodeID, q *transport.ReadRequest, a *transport.ReadAnswer) transport.Verdict {
	tok := token.Of(q.Partition)
	t, verdict := r.admit(ctx, from, q.Version, q.Table, tok.Range())
	if verdict.Code != transport.OK {
		return verdict
	}
	if ctx.Err() != nil {
		return transport.Verdict{Code: transport.Expired}
	}
	var s storage.Slice
	err := r.engine.Slice(&storage.SliceRequest{
		Shape: &t.Shape, Token: tok, Partition: q.Partition, Start: q.Start, End: q.End, Reverse: q.Reverse,
		MaxRows: limit(q.MaxRows, r.cfg.MaxRows), MaxBytes: limit(q.MaxBytes, r.cfg.MaxBytes), Now: q.Now, Floor: t.Floor,
	}, &s)
	a.Live, a.More = s.Live, s.More
	if err == nil && q.Digest {
		a.Digest, err = digest(&s)
	} else {
		a.Head, a.Rows = s.Head, s.Rows
	}
	if err != nil {
		return r.failure("read", t.ID, tok.Range(), err)
	}
	// The range may have moved away, and its data with it, during the read.
	return fence(r.adopted.Load(), tok.Range(), q.Version)
}

// limit is a wish up to a most; 0 wishes for the most.
func limit(wish, most int) int {
	if wish <= 0 {
		return most
	}
	return min(wish, most)
}

// digest is the digest of a slice's head and rows; the coordinator computes it
// likewise of an answer with rows.
func digest(s *storage.Slice) (record.Digest, error) {
	var d record.Digester
	d.Reset()
	if err := d.AddHead(s.Head); err != nil {
		return record.Digest{}, err
	}
	var last []byte
	for rest := s.Rows; len(rest) > 0; {
		suffix, fragment, next, err := record.NextEntry(rest)
		if err != nil {
			return record.Digest{}, err
		}
		if err := d.AddRow(suffix, fragment); err != nil {
			return record.Digest{}, err
		}
		last, rest = suffix, next
	}
	if s.More {
		d.AddEnd(last)
	}
	return d.Sum(), nil
}

// failure is the verdict on an error of storage. Corrupt data is never served:
// the coordinator asks another replica.
func (r *Replica) failure(op string, table uint32, id token.RangeID, err error) transport.Verdict {
	if errors.Is(err, storage.ErrCorrupt) || errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrPoison) {
		r.metrics.corrupt.Inc()
		r.corrupt.log(r.env.Logger, slog.LevelError, "corrupt data is not served", "op", op, "table", table, "range", id, "error", err)
		r.Quarantine(id, err)
		return transport.Verdict{Code: transport.Failed, Detail: "the data on this replica is corrupt: " + err.Error()}
	}
	return transport.Verdict{Code: transport.Failed, Detail: err.Error()}
}

// logLimit lets one line a second through, and counts the others.
type logLimit struct {
	mu      sync.Mutex // guards the fields below
	last    time.Time
	skipped int
}

func (l *logLimit) log(logger *slog.Logger, level slog.Level, text string, args ...any) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.last) < time.Second {
		l.skipped++
		l.mu.Unlock()
		return
	}
	skipped := l.skipped
	l.last, l.skipped = now, 0
	l.mu.Unlock()
	logger.Log(context.Background(), level, text, append(args, "skipped_lines", skipped)...)
}
