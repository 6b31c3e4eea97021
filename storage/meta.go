package storage

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Meta is the node's small synced facts: identity, catalog, Paxos state, clock
// ceiling. It is safe for concurrent use.
type Meta struct {
	engine *Engine
	turn   chan struct{} // one slot, held by the one that writes
}

// Meta returns the engine's meta store.
func (e *Engine) Meta() *Meta { return e.facts }

// Get returns the value of a key; ok is false if there is none.
func (m *Meta) Get(key string) (value []byte, ok bool, err error) {
	if !m.engine.gate.Enter() {
		return nil, false, ErrClosed
	}
	defer m.engine.gate.Leave()
	return get(m.engine.meta, []byte(key))
}

// Set writes a key and returns when it is on disk, whatever the durability of rows.
// Writers take turns: Pebble would let them wait for a slow disk on its mutexes.
func (m *Meta) Set(key string, value []byte) error {
	if !m.engine.gate.Enter() {
		return ErrClosed
	}
	defer m.engine.gate.Leave()
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if err := m.engine.stopped(); err != nil {
		return err
	}
	if err := m.engine.meta.Set([]byte(key), value, pebble.Sync); err != nil {
		return fmt.Errorf("storage: set %s: %w", key, err)
	}
	return nil
}

func get(db *pebble.DB, key []byte) (value []byte, ok bool, err error) {
	found, closer, err := db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, corrupted(fmt.Sprintf("storage: get %q", key), err)
	}
	value = append([]byte{}, found...)
	return value, true, closer.Close()
}
