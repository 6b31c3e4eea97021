// Package pressure decides when a store refuses writes because its compactions are
// behind.
//
// Pebble stops all writers at 40 sublevels of level 0, without an answer, for as
// long as it takes. Refusing earlier, with an answer that says so, keeps the queues
// short and lets clients turn to other replicas.
package pressure
