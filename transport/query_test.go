package transport

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dunlindb/dunlin/record"
	"github.com/dunlindb/dunlin/ring"
)

// within is a context that ends after a while; the bubble ends it at the latest.
func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestReadAndScanRoundTrip(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		read := ReadRequest{
			Version: 3, Table: 1, Partition: []byte("stream"), Start: []byte{}, Reverse: true, Digest: true,
			MaxRows: 10, MaxBytes: 1 << 20, Now: 1790000000,
		}
		readAnswer := ReadAnswer{Digest: record.Digest{1}, Head: []byte("head"), Rows: []byte("rows"), Live: 2, More: true}
		scan := ScanRequest{
			Version: 3, Table: 2, Range: 1023, After: &Position{Token: -5, Partition: []byte("p"), Suffix: []byte{}},
			PartitionsOnly: true, MaxRows: 1, MaxBytes: 2, Now: 3,
		}
		scanAnswer := ScanAnswer{
			Partitions: []byte("names"), Rows: []byte{}, Live: 1, More: true,
			Next: &Position{Token: 6, Partition: []byte("q"), Suffix: []byte("s")},
		}
		serve := func(h *handler, from ring.NodeID) {
			h.read = func(ctx context.Context, asker ring.NodeID, q *ReadRequest) ReadAnswer {
				if d, ok := ctx.Deadline(); !ok || time.Until(d) != time.Second || asker != from || !reflect.DeepEqual(*q, read) {
					x.Errorf("request %+v from %v with deadline %v", *q, asker, d)
				}
				return readAnswer
			}
			h.scan = func(_ context.Context, asker ring.NodeID, q *ScanRequest) ScanAnswer {
				if asker != from || !reflect.DeepEqual(*q, scan) {
					x.Errorf("request %+v from %v", *q, asker)
				}
				return scanAnswer
			}
		}
		serve(a.handler, id(1))
		serve(b.handler, id(1))
		for _, to := range []byte{1, 2} {
			gotRead, err := a.Read(within(x.T, time.Second), id(to), &read)
			if err != nil || !reflect.DeepEqual(gotRead, readAnswer) {
				x.Errorf("read at %d: %+v, error %v", to, gotRead, err)
			}
			gotScan, err := a.Scan(within(x.T, time.Second), id(to), &scan)
			if err != nil || !reflect.DeepEqual(gotScan, scanAnswer) {
				x.Errorf("scan at %d: %+v, error %v", to, gotScan, err)
			}
		}
	})
}

func TestReadVerdictsAreErrors(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		quarantined := Verdict{Code: Quarantined, Detail: "range 3"}
		b.handler.read = func(context.Context, ring.NodeID, *ReadRequest) ReadAnswer { return ReadAnswer{Verdict: quarantined} }
		b.handler.scan = func(context.Context, ring.NodeID, *ScanRequest) ScanAnswer { return ScanAnswer{Verdict: quarantined} }
		answer, err := a.Read(within(x.T, time.Second), id(2), new(ReadRequest))
		var e *Error
		if !errors.As(err, &e) || e.Verdict != quarantined || answer.Verdict != quarantined {
			x.Errorf("read: %+v, %v", answer, err)
		}
		if _, err := a.Scan(within(x.T, time.Second), id(2), new(ScanRequest)); !errors.As(err, &e) || e.Verdict != quarantined {
			x.Errorf("scan: %v", err)
		}
		if _, err := a.Read(within(x.T, time.Second), id(9), new(ReadRequest)); !errors.As(err, &e) || e.Verdict.Code != Unreachable {
			x.Errorf("read at a stranger: %v", err)
		}
		b.handler.read = func(context.Context, ring.NodeID, *ReadRequest) ReadAnswer {
			return ReadAnswer{Rows: make([]byte, x.cfg.AnswerBytes)}
		}
		if _, err := a.Read(within(x.T, time.Second), id(2), new(ReadRequest)); !errors.As(err, &e) || e.Verdict.Code != Failed {
			x.Errorf("an answer over the bound: %v", err)
		}
		x.expectConnected(a, 2, true)
	})
}

func TestReadDeadlineAndCancel(t *testing.T) {
	cluster(t, func(x *fixture) {
		a, b := x.pair()
		b.handler.read = func(ctx context.Context, _ ring.NodeID, _ *ReadRequest) ReadAnswer {
			<-ctx.Done()
			return ReadAnswer{}
		}
		began := time.Now()
		_, err := a.Read(within(x.T, 300*time.Millisecond), id(2), new(ReadRequest))
		if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d != 300*time.Millisecond {
			x.Errorf("%v after %v", err, d)
		}
		ctx, cancel := context.WithCancel(within(x.T, time.Minute))
		time.AfterFunc(100*time.Millisecond, cancel)
		began = time.Now()
		_, err = a.Read(ctx, id(2), new(ReadRequest))
		if d := time.Since(began); !errors.Is(err, context.Canceled) || d != 100*time.Millisecond {
			x.Errorf("%v after %v", err, d)
		}
		if s := a.Peer(id(2)); s.OldestUnanswered != 100*time.Millisecond {
			x.Errorf("a read that was given up is owed since %v", s.OldestUnanswered)
		}
		// Without a deadline, the configured one; the answers come by then too.
		began = time.Now()
		_, err = a.Read(context.Background(), id(2), new(ReadRequest))
		if d := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || d != x.cfg.CallTimeout {
			x.Errorf("%v after %v", err, d)
		}
		time.Sleep(time.Minute)
		x.expectValue(a, "peer_slots_in_flight", 0)
		x.expectValue(a, "late_answers_total", 3)
	})
}

// TestReadersAreBounded: two run, one waits, the rest are refused at once, and
// what waited until its deadline is not done.
func TestReadersAreBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.cfg.Readers, x.cfg.ReadQueue = 2, 1
		a, b := x.pair()
		var mu sync.Mutex
		running, most, done := 0, 0, 0
		b.handler.scan = func(context.Context, ring.NodeID, *ScanRequest) ScanAnswer {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			running--
			done++
			mu.Unlock()
			return ScanAnswer{}
		}
		codes := map[Code]int{}
		ask := func(timeout time.Duration) {
			_, err := a.Scan(within(x.T, timeout), id(2), new(ScanRequest))
			var e *Error
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &e) {
				codes[e.Verdict.Code]++
			} else {
				codes[OK]++
			}
		}
		for range 5 {
			go ask(10 * time.Second)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := map[Code]int{OK: 3, Overloaded: 2}; !reflect.DeepEqual(codes, want) || most != 2 || done != 3 {
			x.Errorf("%v, %d at once, %d done", codes, most, done)
		}
		x.expectValue(b, "shed_requests_total", 2)
		clear(codes)
		for range 3 {
			go ask(900 * time.Millisecond)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if want := map[Code]int{Timeout: 3}; !reflect.DeepEqual(codes, want) || done != 5 {
			x.Errorf("%v, %d done", codes, done)
		}
		x.expectValue(b, "expired_requests_total", 1)
		x.expectValue(a, "peer_slots_in_flight", 0)
	})
}

// TestUnfetchedAnswersAreBounded: a peer that does not fetch its answers gets
// refusals, not more memory.
func TestUnfetchedAnswersAreBounded(t *testing.T) {
	cluster(t, func(x *fixture) {
		x.cfg.AnswerBytes = 64 << 10
		a, b := x.pair()
		reads := 0
		b.handler.read = func(context.Context, ring.NodeID, *ReadRequest) ReadAnswer {
			reads++
			return ReadAnswer{Rows: []byte(strings.Repeat("r", 60<<10))}
		}
		hold := new(holder)
		b.handler.apply = hold.apply
		a.Apply(id(2), group("row"), in(time.Minute), newOutcomes(x.T), 1)
		synctest.Wait()
		s := hold.take()[0].sink.(*session)
		s.mu.Lock()
		f := s.queue.Room(0, 70<<10) // as if an answer waited to be fetched
		*f.Buf = append(*f.Buf, make([]byte, 70<<10+13)...)
		s.mu.Unlock()
		_, err := a.Read(within(x.T, time.Second), id(2), new(ReadRequest))
		if reads != 0 || err == nil {
			x.Errorf("%d reads ran, error %v", reads, err)
		}
		x.expectValue(b, "shed_requests_total", 1)
		synctest.Wait()
	})
}
