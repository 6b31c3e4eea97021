package storage

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// syncer bounds what a crash can lose with periodic durability: it syncs the log
// within an interval after the first commit that it has not synced. It has no
// timer while nothing was committed.
type syncer struct {
	db       *pebble.DB
	interval time.Duration
	wake     chan struct{} // one slot
	quit     chan struct{}
	done     chan struct{}
}

func newSyncer(db *pebble.DB, interval time.Duration) *syncer {
	return &syncer{
		db: db, interval: interval,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// dirty says that something was committed.
func (s *syncer) dirty() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *syncer) run() {
	defer close(s.done)
	for {
		select {
		case <-s.quit:
			return
		case <-s.wake:
		}
		timer := time.NewTimer(s.interval)
		select {
		case <-s.quit:
			timer.Stop()
			return
		case <-timer.C:
		}
		if err := s.db.LogData(nil, pebble.Sync); err != nil {
			return // the log has failed: Pebble's logger has ended the node
		}
	}
}

func (s *syncer) stop() {
	close(s.quit)
	<-s.done
}
