package coordinator

import (
	"sync"

	"github.com/dunlindb/dunlin/coordinator/quorum"
)

// admission bounds the work in flight and knows when all of it has ended.
type admission struct {
	cfg Config

	mu         sync.Mutex // guards the fields below
	inFlight   int64      // bytes of writes not answered
	straggling int64      // bytes of answered writes with acknowledgements missing
	reads      int        // reads and scans not answered
	open       int        // writes with acknowledgements missing, and goroutines of reads
	stopping   bool
	drained    chan struct{} // closed when stopping and nothing is open
}

func newAdmission(cfg Config) *admission {
	return &admission{cfg: cfg, drained: make(chan struct{})}
}

// beginWrite admits a write of so many bytes, or says why not. A write larger
// than the bound is admitted alone.
func (a *admission) beginWrite(bytes int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping:
		return ErrStopping
	case a.inFlight > 0 && a.inFlight+bytes > a.cfg.InFlightBytes:
		return &OverloadedError{Local: true, Detail: "too many bytes of writes in flight", RetryAfter: quorum.RetryAfter}
	case a.straggling >= a.cfg.StragglerBytes:
		return &OverloadedError{Local: true, Detail: "too many answered writes wait for slow replicas", RetryAfter: quorum.RetryAfter}
	}
	a.inFlight += bytes
	a.open++
	return nil
}

// answerWrite moves an admitted write from in flight to straggling.
func (a *admission) answerWrite(bytes int64) {
	a.mu.Lock()
	a.inFlight -= bytes
	a.straggling += bytes
	a.mu.Unlock()
}

// endWrite forgets an answered write: all replicas have been heard.
func (a *admission) endWrite(bytes int64) {
	a.mu.Lock()
	a.straggling -= bytes
	a.close()
	a.mu.Unlock()
}

// beginRead admits a read or a scan; endRead ends it.
func (a *admission) beginRead() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping:
		return ErrStopping
	case a.reads >= a.cfg.Reads:
		return &OverloadedError{Local: true, Detail: "too many reads in flight", RetryAfter: quorum.RetryAfter}
	}
	a.reads++
	a.open++
	return nil
}

func (a *admission) endRead() {
	a.mu.Lock()
	a.reads--
	a.close()
	a.mu.Unlock()
}

// beginTask counts a goroutine that an admitted read starts; endTask ends it.
func (a *admission) beginTask() {
	a.mu.Lock()
	a.open++
	a.mu.Unlock()
}

func (a *admission) endTask() {
	a.mu.Lock()
	a.close()
	a.mu.Unlock()
}

// stop refuses new work; drained is closed when the last has ended.
func (a *admission) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopping {
		a.stopping = true
		a.open++
		a.close()
	}
}

// close ends one piece of open work; mu is held.
func (a *admission) close() {
	a.open--
	if a.stopping && a.open == 0 {
		close(a.drained)
	}
}

// load returns the bytes in flight and straggling, and the reads in flight.
func (a *admission) load() (inFlight, straggling int64, reads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inFlight, a.straggling, a.reads
}
