package replica

import (
	"context"
	"time"

	"github.com/dunlindb/dunlin/ring"
	"github.com/dunlindb/dunlin/storage"
	"github.com/dunlindb/dunlin/token"
	"github.com/dunlindb/dunlin/transport"
)

// Scan answers one page of a token range, in token order. With PartitionsOnly,
// Partitions has entries (partition key, nothing) of the partitions with a visible
// row; else it has (partition key, head), and Rows has (storage key, fragment),
// tombstones included. All is from one snapshot.
func (r *Replica) Scan(ctx context.Context, from ring.NodeID, q *transport.ScanRequest) transport.ScanAnswer {
	start := time.Now()
	var a transport.ScanAnswer
	a.Verdict = r.scan(ctx, from, q, &a)
	r.metrics.scan.Observe(time.Since(start).Seconds())
	if a.Verdict.Code != transport.OK {
		r.metrics.refusedReads.WithLabelValues(a.Verdict.Code.String()).Inc()
		return transport.ScanAnswer{Verdict: a.Verdict}
	}
	r.metrics.readRows.Add(float64(a.Live))
	return a
}

func (r *Replica) scan(ctx context.Context, from ring.NodeID, q *transport.ScanRequest, a *transport.ScanAnswer) transport.Verdict {
	if q.Range >= token.Ranges || q.After != nil && q.After.Token.Range() != q.Range {
		return transport.Verdict{Code: transport.Failed, Detail: "the scan's position is not in its range"}
	}
	t, verdict := r.admit(ctx, from, q.Version, q.Table, q.Range)
	if verdict.Code != transport.OK {
		return verdict
	}
	if ctx.Err() != nil {
		return transport.Verdict{Code: transport.Expired}
	}
	request := storage.ScanRequest{
		Shape: &t.Shape, From: q.Range.First(), To: q.Range.Last(), PartitionsOnly: q.PartitionsOnly,
		MaxRows: limit(q.MaxRows, r.cfg.MaxRows), MaxBytes: limit(q.MaxBytes, r.cfg.MaxBytes), Now: q.Now, Floor: t.Floor,
	}
	if q.After != nil {
		request.After = &storage.Position{Token: q.After.Token, Partition: q.After.Partition, Suffix: q.After.Suffix}
		if q.PartitionsOnly {
			request.After.Suffix = nil
		}
	}
	var s storage.ScanAnswer
	if err := r.engine.Scan(&request, &s); err != nil {
		return r.failure("scan", t.ID, q.Range, err)
	}
	a.Partitions, a.Rows, a.Live, a.More = s.Partitions, s.Rows, s.Live, s.More
	if s.Next != nil {
		a.Next = &transport.Position{Token: s.Next.Token, Partition: s.Next.Partition, Suffix: s.Next.Suffix}
	}
	return fence(r.adopted.Load(), q.Range, q.Version)
}
