package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is what the workers do.
type Mode string

// The modes.
const (
	Write Mode = "write"
	Read  Mode = "read"
	Mixed Mode = "mixed" // every second operation is a read
)

// Config is one run.
type Config struct {
	Mode      Mode
	Clients   int           // workers
	Batch     int           // events a write
	Duration  time.Duration // of the measurement
	Rate      float64       // operations per second in all; 0: as fast as answers come
	ValueSize int           // bytes of an event's data
	Streams   int           // events are spread over so many streams
	ReadLimit int           // events a read asks for
	Seed      uint64
}

// DefaultConfig is a write load of 64 clients for 30 seconds.
func DefaultConfig() Config {
	return Config{
		Mode: Write, Clients: 64, Batch: 1, Duration: 30 * time.Second,
		ValueSize: 256, Streams: 1000, ReadLimit: 100, Seed: 1,
	}
}

// Validate names what is wrong with a configuration.
func (c Config) Validate() error {
	switch {
	case c.Mode != Write && c.Mode != Read && c.Mode != Mixed:
		return fmt.Errorf("bench: mode is %q: give write, read or mixed", c.Mode)
	case c.Clients < 1 || c.Clients > 100_000:
		return fmt.Errorf("bench: clients is %d: give 1 to 100000", c.Clients)
	case c.Batch < 1 || c.Batch > 10_000:
		return fmt.Errorf("bench: batch is %d: give 1 to 10000", c.Batch)
	case c.Duration <= 0:
		return fmt.Errorf("bench: duration is %s: give more than 0", c.Duration)
	case c.Rate < 0:
		return fmt.Errorf("bench: rate is %g: give operations per second, or 0", c.Rate)
	case c.ValueSize < 2 || c.ValueSize > 1<<20:
		return fmt.Errorf("bench: value size is %d: give 2 to 1048576 bytes", c.ValueSize)
	case c.Streams < 1:
		return fmt.Errorf("bench: streams is %d: give at least 1", c.Streams)
	case c.ReadLimit < 1:
		return fmt.Errorf("bench: read limit is %d: give at least 1", c.ReadLimit)
	}
	return nil
}

// Target is the system under load. Its methods are called concurrently.
type Target interface {
	// Append writes the events' data to a stream in one request and returns
	// how many were acknowledged.
	Append(ctx context.Context, stream string, data [][]byte) (acknowledged int, err error)
	// Read reads the newest events of a stream and returns how many there were.
	Read(ctx context.Context, stream string, limit int) (events int, err error)
	// Kind names an error's kind for the report: "503 unavailable", "timeout".
	Kind(err error) string
}

// Progress hears, about twice a second, how far a run is. It may be nil.
type Progress func(elapsed time.Duration, operations int64)

// Run drives the target until the duration has passed or ctx ends.
func Run(ctx context.Context, cfg Config, target Target, progress Progress) (Result, error) {
	if err := cfg.Validate(); err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	r := &run{cfg: cfg, target: target, start: time.Now()}
	workers := make([]*worker, cfg.Clients)
	var wg sync.WaitGroup
	for i := range workers {
		w := newWorker(r, i)
		workers[i] = w
		wg.Go(func() { w.work(ctx) })
	}
	wg.Go(func() { r.report(ctx, progress) })
	wg.Wait()
	return r.result(workers), nil
}

// run is what the workers of one run share.
type run struct {
	cfg    Config
	target Target
	start  time.Time
	due    atomic.Int64 // operations handed out, for the open loop
	done   atomic.Int64 // operations finished, for progress
}

// next waits until the worker's next operation is due and returns that moment;
// ok is false when the run is over.
func (r *run) next(ctx context.Context) (due time.Time, ok bool) {
	if r.cfg.Rate == 0 {
		return time.Now(), ctx.Err() == nil
	}
	n := r.due.Add(1) - 1
	due = r.start.Add(time.Duration(float64(n) / r.cfg.Rate * float64(time.Second)))
	pause := time.Until(due)
	if pause <= 0 {
		return due, ctx.Err() == nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return due, false
	case <-timer.C:
		return due, true
	}
}

func (r *run) report(ctx context.Context, progress Progress) {
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if progress != nil {
				progress(time.Since(r.start), r.done.Load())
			}
		}
	}
}

// worker is one client: it has at most one request in flight.
type worker struct {
	run    *run
	rand   *rand.Rand
	data   [][]byte
	reads  recording
	writes recording
	errors map[string]int64
	turn   int
}

func newWorker(r *run, number int) *worker {
	w := &worker{
		run: r, turn: number, errors: map[string]int64{},
		rand:  rand.New(rand.NewPCG(r.cfg.Seed, uint64(number))),
		reads: newRecording(), writes: newRecording(),
	}
	for range r.cfg.Batch {
		w.data = append(w.data, payload(w.rand, r.cfg.ValueSize))
	}
	return w
}

// payload is a JSON string of the given size with text that compresses about
// as badly as log lines do.
func payload(random *rand.Rand, size int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789 /.:-=ABCDEF"
	data := make([]byte, size)
	for i := range data {
		data[i] = letters[random.IntN(len(letters))]
	}
	data[0], data[size-1] = '"', '"'
	return data
}

func (w *worker) work(ctx context.Context) {
	for {
		due, ok := w.run.next(ctx)
		if !ok {
			return
		}
		w.turn++
		stream := fmt.Sprintf("bench/%d", w.rand.IntN(w.run.cfg.Streams))
		if w.run.cfg.Mode == Read || (w.run.cfg.Mode == Mixed && w.turn%2 == 0) {
			events, err := w.run.target.Read(ctx, stream, w.run.cfg.ReadLimit)
			w.record(ctx, &w.reads, due, events, err)
		} else {
			events, err := w.run.target.Append(ctx, stream, w.data)
			w.record(ctx, &w.writes, due, events, err)
		}
	}
}

// record files one operation. What the end of the run cut off is not counted.
func (w *worker) record(ctx context.Context, into *recording, due time.Time, events int, err error) {
	if err != nil && ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return
	}
	w.run.done.Add(1)
	into.add(time.Since(due), events)
	if err != nil {
		into.failed++
		w.errors[w.run.target.Kind(err)]++
	}
}
