package membership

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"
)

// table is who is alive and what they told of themselves. memberlist calls its
// Notify methods with its own locks held, so they only take notes.
type table struct {
	self    uuid.UUID
	cluster uuid.UUID
	metrics *metrics
	changed chan struct{} // signal: take has something

	mu       sync.Mutex // guards the fields below
	entries  map[uuid.UUID]*entry
	liveness bool // an entry's Alive changed since the last take
	stopped  bool
}

type entry struct {
	status Status
	fact   Fact
	known  bool // fact was heard
	fresh  bool // fact was not taken yet
}

// nodeFact is a fact on its way to the callback.
type nodeFact struct {
	node uuid.UUID
	fact Fact
}

func newTable(self, cluster uuid.UUID, m *metrics) *table {
	return &table{
		self: self, cluster: cluster, metrics: m,
		changed: make(chan struct{}, 1), entries: make(map[uuid.UUID]*entry),
	}
}

func (t *table) status(id uuid.UUID) Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.entries[id]; e != nil {
		return e.status
	}
	return Status{}
}

// stop freezes the view: a node that leaves would see itself and then all
// others go.
func (t *table) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// take returns what changed since the last call.
func (t *table) take() (liveness bool, facts []nodeFact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	liveness, t.liveness = t.liveness, false
	for id, e := range t.entries {
		if e.fresh {
			e.fresh = false
			facts = append(facts, nodeFact{id, e.fact})
		}
	}
	return liveness, facts
}

// NotifyAlive refuses nodes that are not of this cluster.
func (t *table) NotifyAlive(n *memberlist.Node) error {
	if _, err := uuid.Parse(n.Name); err != nil {
		t.metrics.refused.WithLabelValues("node", "name").Inc()
		return fmt.Errorf("node name %.64q is not a UUID", n.Name)
	}
	if _, err := parseMeta(n.Meta, t.cluster); err != nil {
		t.metrics.refused.WithLabelValues("node", "meta").Inc()
		return err
	}
	return nil
}

// NotifyJoin notes that a node is alive.
func (t *table) NotifyJoin(n *memberlist.Node) { t.note(n, true) }

// NotifyUpdate notes that a node told another fact.
func (t *table) NotifyUpdate(n *memberlist.Node) { t.note(n, true) }

// NotifyLeave notes that a node is dead or has left.
func (t *table) NotifyLeave(n *memberlist.Node) { t.note(n, false) }

func (t *table) note(n *memberlist.Node, alive bool) {
	id, err := uuid.Parse(n.Name)
	if err != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return
	}
	e := t.entries[id]
	if e == nil {
		e = &entry{}
		t.entries[id] = e
	}
	if e.status.Alive != alive {
		e.status = Status{Alive: alive, Since: time.Now()}
		t.liveness = true
		t.countTransition(alive)
	}
	if f, err := parseMeta(n.Meta, t.cluster); err == nil && alive && (!e.known || f != e.fact) {
		e.fact, e.known, e.fresh = f, true, id != t.self
	}
	signal(t.changed)
}

func (t *table) countTransition(alive bool) {
	if alive {
		t.metrics.alive.Inc()
		t.metrics.transitions.WithLabelValues("alive").Inc()
		return
	}
	t.metrics.alive.Dec()
	t.metrics.transitions.WithLabelValues("dead").Inc()
}
