package pacing

import (
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

const (
	pauseMin = 250 * time.Millisecond
	pauseMax = 16 * time.Second
	// grantEvery is how often it is looked whether more compactions may run, as
	// Pebble's default does.
	grantEvery = 100 * time.Millisecond
)

// Scheduler is a pebble.CompactionScheduler. Make it with New.
type Scheduler struct {
	*pebble.ConcurrencyLimitScheduler
	ticks  bool
	failed atomic.Bool  // the compaction that is about to end has failed
	fails  atomic.Int64 // in a row
	resume chan struct{}
	poke   chan struct{} // one slot
	quit   chan struct{}
	done   chan struct{}
}

// New makes a scheduler; without ticks it looks for more work only when there is
// some, for virtual time.
func New(ticks bool) *Scheduler {
	return &Scheduler{
		// Pebble makes the one with a ticker only for itself.
		ConcurrencyLimitScheduler: pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(),
		ticks:                     ticks, resume: make(chan struct{}), poke: make(chan struct{}, 1),
		quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// Failed tells that background work has failed, before it is done.
func (s *Scheduler) Failed() { s.failed.Store(true) }

// Resume ends the pauses: what has made compactions fail may be gone.
func (s *Scheduler) Resume() {
	s.fails.Store(0)
	for {
		select {
		case s.resume <- struct{}{}:
		default:
			return
		}
	}
}

// Register begins to schedule for a store.
func (s *Scheduler) Register(goroutines int, db pebble.DBForCompaction) {
	s.ConcurrencyLimitScheduler.Register(goroutines, granting{db, s})
	if s.ticks {
		go s.grant()
	} else {
		close(s.done)
	}
}

// Unregister ends the scheduling, and pauses.
func (s *Scheduler) Unregister() {
	close(s.quit)
	<-s.done
	s.ConcurrencyLimitScheduler.Unregister()
}

// TrySchedule asks whether a compaction may run.
func (s *Scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	ok, h := s.ConcurrencyLimitScheduler.TrySchedule()
	if !ok {
		return false, nil
	}
	return true, handle{h, s}
}

// UpdateGetAllowedWithoutPermission tells that more compactions may be allowed.
func (s *Scheduler) UpdateGetAllowedWithoutPermission() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// grant lets waiting compactions run when more are allowed.
func (s *Scheduler) grant() {
	defer close(s.done)
	ticker := time.NewTicker(grantEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-ticker.C:
		case <-s.poke:
		}
		if ok, h := s.ConcurrencyLimitScheduler.TrySchedule(); ok {
			h.Done() // gives the place on to whoever waits
		}
	}
}

// pause waits after a failure, longer after each in a row.
func (s *Scheduler) pause() {
	if !s.failed.Swap(false) {
		s.fails.Store(0)
		return
	}
	timer := time.NewTimer(min(pauseMin<<min(s.fails.Add(1)-1, 16), pauseMax))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.resume:
	case <-s.quit:
	}
}

// granting is a store that is granted handles that pause.
type granting struct {
	pebble.DBForCompaction
	s *Scheduler
}

func (g granting) Schedule(h pebble.CompactionGrantHandle) bool {
	return g.DBForCompaction.Schedule(handle{h, g.s})
}

// handle is the place of a running compaction.
type handle struct {
	pebble.CompactionGrantHandle
	s *Scheduler
}

// Done gives the place back. Pebble holds no lock here.
func (h handle) Done() {
	h.s.pause()
	h.CompactionGrantHandle.Done()
}
