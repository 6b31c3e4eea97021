package admission

import (
	"errors"
	"sync"

	"github.com/dunlindb/dunlin/coordinator/quorum"
)

// ErrStopping means that this node is shutting down; another one may serve.
var ErrStopping = errors.New("coordinator: this node is stopping; ask another one")

// Config bounds the work in flight.
type Config struct {
	InFlightBytes, StragglerBytes int64 // of writes that are not answered, and that are but not by all replicas
	Reads                         int   // reads and scans
}

// Admission bounds the work in flight and knows when all of it has ended.
type Admission struct {
	cfg Config

	mu         sync.Mutex // guards the fields below
	inFlight   int64      // bytes of writes not answered
	straggling int64      // bytes of answered writes with acknowledgements missing
	reads      int        // reads and scans not answered
	open       int        // writes with acknowledgements missing, and goroutines of reads
	stopping   bool
	drained    chan struct{} // closed when stopping and nothing is open
}

// New makes an empty Admission.
func New(cfg Config) *Admission {
	return &Admission{cfg: cfg, drained: make(chan struct{})}
}

// BeginWrite admits a write of so many bytes, or says why not. A write larger
// than the bound is admitted alone.
func (a *Admission) BeginWrite(bytes int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping:
		return ErrStopping
	case a.inFlight > 0 && a.inFlight+bytes > a.cfg.InFlightBytes:
		return &quorum.OverloadedError{Local: true, Detail: "too many bytes of writes in flight", RetryAfter: quorum.RetryAfter}
	case a.straggling >= a.cfg.StragglerBytes:
		return &quorum.OverloadedError{Local: true, Detail: "too many answered writes wait for slow replicas", RetryAfter: quorum.RetryAfter}
	}
	a.inFlight += bytes
	a.open++
	return nil
}

// AnswerWrite moves an admitted write from in flight to straggling.
func (a *Admission) AnswerWrite(bytes int64) {
	a.mu.Lock()
	a.inFlight -= bytes
	a.straggling += bytes
	a.mu.Unlock()
}

// EndWrite forgets an answered write: all replicas have been heard.
func (a *Admission) EndWrite(bytes int64) {
	a.mu.Lock()
	a.straggling -= bytes
	a.close()
	a.mu.Unlock()
}

// BeginRead admits a read or a scan; EndRead ends it.
func (a *Admission) BeginRead() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.stopping:
		return ErrStopping
	case a.reads >= a.cfg.Reads:
		return &quorum.OverloadedError{Local: true, Detail: "too many reads in flight", RetryAfter: quorum.RetryAfter}
	}
	a.reads++
	a.open++
	return nil
}

// EndRead ends what BeginRead admitted.
func (a *Admission) EndRead() {
	a.mu.Lock()
	a.reads--
	a.close()
	a.mu.Unlock()
}

// BeginTask counts a goroutine that an admitted read starts; EndTask ends it.
func (a *Admission) BeginTask() {
	a.mu.Lock()
	a.open++
	a.mu.Unlock()
}

// EndTask ends what BeginTask counted.
func (a *Admission) EndTask() {
	a.mu.Lock()
	a.close()
	a.mu.Unlock()
}

// MayRepair reports whether one more read may leave a repair behind.
func (a *Admission) MayRepair() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open < 2*a.cfg.Reads
}

// Stop refuses new work; Drained is closed when the last has ended.
func (a *Admission) Stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.stopping {
		a.stopping = true
		a.open++
		a.close()
	}
}

// Drained is closed when Stop was called and nothing is open any more.
func (a *Admission) Drained() <-chan struct{} { return a.drained }

// Open returns the number of pieces of open work: admitted ones and tasks.
func (a *Admission) Open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.open
}

// close ends one piece of open work; mu is held.
func (a *Admission) close() {
	a.open--
	if a.stopping && a.open == 0 {
		close(a.drained)
	}
}

// Load returns the bytes in flight and straggling, and the reads in flight.
func (a *Admission) Load() (inFlight, straggling int64, reads int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.inFlight, a.straggling, a.reads
}
